"""Decoders with latent attention: counts derived by hand from their configs, or published."""

from __future__ import annotations

import pytest

from diag.planner.model.architecture import LatentCache
from diag.planner.model.families.config import Config
from diag.planner.model.families.latent import READERS
from diag.planner.model.shards import parameter_count, rank_weight_bytes
from diag.planner.unknown import NotKnown
from tests.planner.families import published


def read(config):
    return READERS[config["model_type"]](Config(config))


def names(architecture, layer):
    return [weight.name for weight in architecture.layers[layer].weights]


def elements(architecture, layer, name):
    return sum(w.rows * w.columns * w.count for w in architecture.layers[layer].weights if w.name == name)


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (published.DEEPSEEK_V2_LITE, 15_706_484_224),  # huggingface.co/deepseek-ai/DeepSeek-V2-Lite, safetensors
        (published.DEEPSEEK_V3, 671_026_419_200),  # arXiv 2412.19437: 671B; the draft layer's 14B are not among them
        (published.GLM_47_FLASH, 29_943_393_920),  # model card: 30B
    ],
)
def test_parameters_are_the_published_ones(config, parameters):
    assert parameter_count(read(config)) == parameters


@pytest.mark.parametrize(
    ("config", "tp", "held"),
    [
        (published.DEEPSEEK_V2_LITE, 1, 31_412_968_448),
        (published.DEEPSEEK_V2_LITE, 4, 7_906_319_360),
        (published.GLM_47_FLASH, 1, 59_898_852_352),
        (published.GLM_47_FLASH, 4, 15_187_244_032),
    ],
)
def test_a_rank_holds_what_vllm_allocates(config, tp, held):
    """vLLM 0.32, these configs, rank 0."""
    assert rank_weight_bytes(read(config), tp=tp) == held


def test_only_the_first_layers_are_dense():
    model = read(published.DEEPSEEK_V3)
    assert [("mlp.gate_proj" in names(model, layer)) for layer in range(5)] == [True, True, True, False, False]
    assert elements(model, 3, "mlp.experts.0.gate_proj") == 256 * 2048 * 7168
    assert elements(model, 3, "mlp.shared_experts.gate_proj") == 2048 * 7168


def test_mlp_layer_types_name_the_layers_with_experts():
    kinds = ["sparse", "dense"] * 30 + ["sparse"]
    model = read({**published.DEEPSEEK_V3, "mlp_layer_types": kinds})
    assert ["mlp.gate" in names(model, layer) for layer in range(61)] == [kind == "sparse" for kind in kinds]


def test_a_cached_entry_is_the_compressed_one_with_its_position():
    assert read(published.DEEPSEEK_V3).layers[0].caches == (LatentCache(dim=576, rope_dim=64),)
    assert read(published.DEEPSEEK_V3).kv_heads == 1


def test_queries_are_not_compressed_without_a_rank():
    assert "self_attn.q_proj" in names(read(published.DEEPSEEK_V2_LITE), 0)
    assert "self_attn.q_b_proj" in names(read(published.DEEPSEEK_V3), 0)


def test_scores_are_corrected_where_the_routing_says_so():
    correction = "mlp.gate.e_score_correction_bias"
    assert correction in names(read(published.DEEPSEEK_V3), 3)
    assert correction not in names(read(published.DEEPSEEK_V2_LITE), 3)


def test_every_layer_has_an_indexer_beside_its_latent_cache():
    model = read(published.DEEPSEEK_V32)
    assert {layer.caches for layer in model.layers} == {
        (LatentCache(dim=576, rope_dim=64, indexer_dim=128, sparse=True),)
    }
    assert elements(model, 0, "self_attn.indexer.wq_b") == 64 * 128 * 1536


INDEXED = [0, 1, 2, 6, 10]


@pytest.mark.parametrize(
    "said",
    [
        {"index_topk_freq": 4, "index_skip_topk_offset": 3},
        {"index_topk_pattern": "".join("F" if layer in INDEXED else "S" for layer in range(12))},
        {"indexer_types": ["full" if layer in INDEXED else "shared" for layer in range(12)]},
    ],
)
def test_layers_share_what_an_earlier_indexer_chose(said):
    model = read({**published.DEEPSEEK_V32, "num_hidden_layers": 12, **said})
    caches = [layer.caches[0] for layer in model.layers]
    assert [layer for layer, cache in enumerate(caches) if cache.indexer_dim] == INDEXED
    assert all(cache.sparse for cache in caches)


def test_draft_layers_are_left_out_by_name():
    assert read(published.DEEPSEEK_V3).left_out == ("1 draft layer (multi-token prediction, num_nextn_predict_layers)",)
    assert len(read(published.DEEPSEEK_V3).layers) == 61


def kimi(**vision: object):
    tower = {
        "vt_hidden_size": 1152,
        "vt_intermediate_size": 4304,
        "vt_num_attention_heads": 16,
        "vt_num_hidden_layers": 27,
        "patch_size": 14,
        "init_pos_emb_height": 64,
        "init_pos_emb_width": 64,
        "merge_kernel_size": [2, 2],
    }
    return {
        "architectures": ["KimiK25ForConditionalGeneration"],
        "model_type": "kimi_k25",
        "text_config": {**published.DEEPSEEK_V3, "architectures": None},
        "vision_config": {**tower, **vision},
    }


def test_a_vision_tower_stands_before_the_language_model():
    model = read(kimi())
    tower = sum((w.rows * w.columns + w.rows * w.bias) * w.count for w in model.first if "embed_tokens" not in w.name)
    block = 4 * (1152 * 1152 + 1152) + 2 * 1152 * 4304 + 4304 + 1152 + 4 * 1152
    patches = 1152 * 3 * 14 * 14 + 1152 + 64 * 64 * 1152
    projector = 2 * 1152 + 4608 * 4608 + 4608 + 4608 * 7168 + 7168
    assert tower == 27 * block + patches + 2 * 1152 + projector
    assert model.vision
    assert model.name == "KimiK25ForConditionalGeneration"
    assert model.layers[3].prefix == "language_model.model.layers.3"


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({**published.DEEPSEEK_V3, "attention_bias": True}, "attention_bias"),
        ({**published.DEEPSEEK_V3, "kv_lora_rank": None}, "without kv_lora_rank"),
        ({**published.DEEPSEEK_V32, "q_lora_rank": None}, "without q_lora_rank"),
        ({**published.DEEPSEEK_V3, "mlp_layer_types": ["sparse"]}, "mlp_layer_types"),
        ({**published.DEEPSEEK_V32, "indexer_types": ["partial"] * 61}, "indexer_types"),
        ({**published.DEEPSEEK_V3, "n_routed_experts": "many"}, "n_routed_experts"),
        (kimi(norm_type="batchnorm"), "norm_type"),
        (kimi(mm_projector_type="resampler"), "mm_projector_type"),
        (kimi(merge_kernel_size=["two", 2]), "merge_kernel_size"),
        ({**kimi(), "text_config": {**published.DEEPSEEK_V3, "model_type": "llama"}}, "model_type"),
    ],
)
def test_what_is_not_understood_is_not_known(config, what):
    with pytest.raises(NotKnown, match=what):
        read(config)
