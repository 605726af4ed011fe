"""What TurboMind holds is not what the file has: scales with zero points, padded groups, folded latent attention."""

from __future__ import annotations

import pytest

from diag.planner.model import families
from diag.planner.model.architecture import Weight
from diag.planner.model.formats import stored
from diag.planner.model.formats.held import Loader, held
from diag.planner.model.formats.stored import Format, matrix_bytes
from diag.planner.model.shards import rank_weight_bytes
from tests.planner.clusters import CONFIGS
from tests.planner.families.published import GLM_47_FLASH
from tests.planner.formats.test_quantization_held import linear, one

H100 = Loader(engine="turbomind", version="0.18.0", capability=90)
V100 = Loader(engine="turbomind", version="0.18.0", capability=70)
AWQ = stored.grouped("awq", 4, 128, scale_bytes=2, zeros=True)


def held_bytes(form: Format, loader: Loader, name: str = "mlp.up_proj") -> float:
    (weight,) = one(linear(form, name), loader)
    assert weight.format is not None
    return matrix_bytes(weight.format, 2, weight.rows, weight.columns)


def test_each_group_of_4_bits_has_a_scale_and_a_zero_point_of_16_bit():
    assert held_bytes(AWQ, H100) == 4096 * 4096 // 2 + 4096 * 32 * 4
    assert matrix_bytes(AWQ, 2, 4096, 4096) == 4096 * 4096 // 2 + 4096 * 32 * 2.5


def test_blocks_of_fp8_are_kept_on_hopper_and_get_a_scale_a_row_elsewhere():
    blocks = stored.fp8_block(128, 128)
    assert held_bytes(blocks, H100) == 4096 * 4096 + 32 * 32 * 4
    assert held_bytes(blocks, V100) == 4096 * 4096 + 4096 * 32 * 2


@pytest.mark.parametrize(
    ("name", "shard", "multiple"),
    [
        ("mlp.experts.0.up_proj", "rows", (32, 1)),
        ("mlp.experts.0.gate_up_proj", "rows", (64, 1)),
        ("mlp.experts.0.down_proj", "columns", (1, 32)),
        ("self_attn.o_proj", "columns", (1, 1)),
    ],
)
def test_ranks_get_whole_groups_of_an_mlp(name, shard, multiple):
    (weight,) = one(Weight(name=name, rows=2880, columns=2880, shard=shard, format=stored.MXFP4), H100, "mxfp4")
    assert weight.format is not None
    assert weight.format.multiple == multiple


def test_a_head_that_is_the_embedding_is_held_twice():
    model = families.read(CONFIGS["qwen3-0.6b"])
    more = rank_weight_bytes(held(model, H100), tp=1) - rank_weight_bytes(model, tp=1)
    assert more == 151_936 * 1024 * 2


LAYERS, HEADS, ENTRY = 47, 20, 576
QUERIES = 768 * HEADS * (ENTRY - (192 + 64))
OUTPUT = 2048 * HEADS * (ENTRY - 256)
COMPRESSED = 512 * HEADS * (192 + 256)


def glm(version: str) -> int:
    model = families.read(GLM_47_FLASH)
    return rank_weight_bytes(held(model, Loader(engine="turbomind", version=version, capability=90)), tp=1)


def test_latent_attention_is_folded_into_the_queries_and_the_output():
    stored_bytes = rank_weight_bytes(families.read(GLM_47_FLASH), tp=1)
    assert glm("0.18.0") - stored_bytes == 2 * LAYERS * (QUERIES + OUTPUT - COMPRESSED)


def test_before_0_12_2_the_output_was_padded_to_the_queries():
    """192 + 64 is what the values have already."""
    assert glm("0.12.1") == rank_weight_bytes(families.read(GLM_47_FLASH), tp=1)
