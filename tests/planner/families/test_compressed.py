"""DeepSeek-V4: counts derived by hand from its config."""

from __future__ import annotations

import pytest

from diag.planner.model import families
from diag.planner.model.architecture import CompressedCache, RotaryTable
from diag.planner.model.catalogue import bundled
from diag.planner.model.families.compressed import READERS
from diag.planner.model.families.config import Config
from diag.planner.model.shards import checkpoint_bytes, parameter_count, shard_shape, why_not
from diag.planner.unknown import NotKnown
from tests.planner.families import published


def read(config):
    return READERS[config["model_type"]](Config(config))


def weights(architecture, layer):
    return {w.name: w.rows * w.columns * w.count for w in architecture.layers[layer].weights}


def test_parameters_are_the_published_ones():
    """Model card: 284B; the tables of the hashed layers, which are no parameters, are counted."""
    assert parameter_count(read(published.DEEPSEEK_V4_FLASH)) == 284_334_567_511


def test_a_layer_keeps_a_window_and_summaries_of_the_ratio_it_is_given():
    caches = [layer.caches[0] for layer in read(published.DEEPSEEK_V4_FLASH).layers]
    assert caches[0] == CompressedCache(dim=512, rope_dim=64, window=128)
    assert caches[2] == CompressedCache(dim=512, rope_dim=64, window=128, ratio=4, indexer_dim=128)
    assert caches[3] == CompressedCache(dim=512, rope_dim=64, window=128, ratio=128)
    assert len(caches) == 43


def test_overlapping_summaries_are_made_from_twice_as_much():
    model = read(published.DEEPSEEK_V4_FLASH)
    assert weights(model, 2)["attn.compressor.wkv"] == 2 * 512 * 4096
    assert weights(model, 3)["attn.compressor.wkv"] == 512 * 4096
    assert "attn.compressor.wkv" not in weights(model, 0)
    assert weights(model, 2)["attn.indexer.compressor.wgate"] == 2 * 128 * 4096


def test_the_output_passes_through_groups():
    found = weights(read(published.DEEPSEEK_V4_FLASH), 0)
    assert found["attn.wo_a"] == 8 * 1024 * (64 * 512 // 8)
    assert found["attn.wo_b"] == 4096 * 8 * 1024


def test_the_first_layers_look_their_experts_up():
    model = read(published.DEEPSEEK_V4_FLASH)
    assert weights(model, 2)["ffn.gate.tid2eid"] == 129280 * 6
    assert weights(model, 3)["ffn.gate.bias"] == 256
    assert "ffn.gate.bias" not in weights(model, 2)


def test_residual_streams_are_mixed_in_float32():
    model = read(published.DEEPSEEK_V4_FLASH)
    assert weights(model, 0)["hc_attn_fn"] == 24 * 4 * 4096
    assert {w.dtype_bytes for w in model.layers[0].weights if w.name.startswith("hc_")} == {4}
    assert {w.name for w in model.last} >= {"norm", "hc_head_fn", "hc_head_base", "hc_head_scale", "head"}


def test_loading_makes_a_table_of_every_position_for_each_base():
    """1,048,576 positions of 64 numbers in float32: layers with summaries turn at a base of their own."""
    table = RotaryTable(positions=2**20, dim=64, element_bytes=4)
    assert read(published.DEEPSEEK_V4_FLASH).rotary == (table, table)
    assert read({**published.DEEPSEEK_V4_FLASH, "compress_ratios": [128] * 43}).rotary == (table,)


def test_the_files_are_what_the_index_of_the_checkpoint_says_less_its_draft_layer():
    """159,609,485,896 bytes with one draft layer.

    That: 256 experts of 3 · 2048 · 4096 in 4 bits and a byte for each 32; in 8 bits and a byte for each 128 · 128 the
    shared one, queries (1024 · 4096, 32768 · 1024), keys (512 · 4096), output (8192 · 4096 twice) and two projections
    of 4096 · 4096; in 16 the router; in 32 the streams' two mixers of 24 and a head of 4 rows of 4 · 4096.
    """
    quarter, eight = 3 * 2048 * 4096, 3 * 2048 * 4096 + 1024 * 4096 + 32768 * 1024 + 512 * 4096 + 2 * 8192 * 4096
    draft = 256 * (quarter // 2 + quarter // 32) + (eight + 2 * 4096**2) * 16385 // 16384
    draft += 256 * 4096 * 2 + (2 * 24 + 4) * 4 * 4096 * 4
    model = bundled("deepseek-ai/DeepSeek-V4-Flash")
    files = checkpoint_bytes(families.read(model.config, model.hf_quant))
    hashed = 3 * 129280 * 6 * 4
    """The tables of the hashed layers are 64 bits wide in the files and 32 in memory."""
    assert files + draft + hashed == pytest.approx(159_609_485_896, abs=2**20)


def test_sinks_are_padded_to_the_heads_that_a_kernel_works_on():
    pro = read({**published.DEEPSEEK_V4_FLASH, "num_attention_heads": 128})
    (sinks,) = (w for w in pro.layers[0].weights if w.name == "attn.attn_sink")
    assert [shard_shape(sinks, tp) for tp in (1, 2, 4, 8)] == [(128, 1), (64, 1), (64, 1), (64, 1)]


def test_more_ranks_than_groups_are_refused():
    model = read(published.DEEPSEEK_V4_FLASH)
    assert why_not(model, tp=8) is None
    assert why_not(model, tp=16) == "attn.wo_a: 8 heads do not divide by 16"


def test_the_form_of_another_publisher_is_the_same_model():
    assert read({**published.DEEPSEEK_V4_FLASH, "model_type": "deepseek_ref"}).layers == (
        read(published.DEEPSEEK_V4_FLASH).layers
    )


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({**published.DEEPSEEK_V4_FLASH, "compress_ratios": [8] * 43}, "compress_ratios"),
        ({**published.DEEPSEEK_V4_FLASH, "compress_ratios": [4] * 3}, "compress_ratios"),
        ({**published.DEEPSEEK_V4_FLASH, "vision_n_layers": 12}, "vision_n_layers"),
        ({**published.DEEPSEEK_V4_FLASH, "hc_mult": None}, "hc_mult"),
    ],
)
def test_what_is_not_understood_is_not_known(config, what):
    with pytest.raises(NotKnown, match=what):
        read(config)


def test_the_layer_that_guesses_projects_streams_and_the_next_token_each_by_itself():
    """Behind layer 43 the config's list of ratios has a 44th: a window only."""
    draft = families.read_draft(published.DEEPSEEK_V4_FLASH)
    assert draft is not None
    (layer,) = draft.layers
    found = weights(draft, 0)
    assert (layer.prefix, layer.caches) == ("mtp.0", (CompressedCache(dim=512, rope_dim=64, window=128),))
    assert (found["e_proj"], found["h_proj"], found["hc_head_fn"]) == (4096 * 4096, 4096 * 4096, 4 * 4 * 4096)
    assert found["ffn.gate.bias"] == 256
    assert "ffn.gate.tid2eid" not in found
    assert "attn.compressor.wkv" not in found
    own = weights(read(published.DEEPSEEK_V4_FLASH), 0)
    assert {name: found[name] for name in own if not name.startswith("ffn.gate")} == {
        name: size for name, size in own.items() if not name.startswith("ffn.gate")
    }


def test_a_list_of_ratios_that_ends_with_the_model_says_nothing_of_the_layer_that_guesses():
    short = published.DEEPSEEK_V4_FLASH | {"compress_ratios": published.DEEPSEEK_V4_FLASH["compress_ratios"][:43]}
    with pytest.raises(NotKnown, match="compress_ratios"):
        families.read_draft(short)
