"""Decoders with recurrent states: counts derived by hand from their configs, or published."""

from __future__ import annotations

import msgspec
import pytest

from diag.planner.model.architecture import AttentionCache, LatentCache, StateCache
from diag.planner.model.families import hybrid, kimi_linear, nemotron_h
from diag.planner.model.families.config import Config
from diag.planner.model.shards import parameter_count, rank_weight_bytes, why_not
from diag.planner.unknown import NotKnown
from tests.planner.families import published

READERS = {**hybrid.READERS, **nemotron_h.READERS, **kimi_linear.READERS}


def read(config):
    return READERS[config["model_type"]](Config(config))


def kinds(architecture):
    return [type(layer.caches[0]) if layer.caches else None for layer in architecture.layers]


def weights(architecture, layer):
    """Elements by name; parts of one matrix together."""
    found = {}
    for w in architecture.layers[layer].weights:
        found[w.name] = found.get(w.name, 0) + (w.rows * w.columns + w.rows * w.bias) * w.count
    return found


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        # huggingface.co: 81,324,862,720 in the safetensors with the draft layer, which vLLM 0.32 does not load
        (published.QWEN3_NEXT, 79_674_391_296),
        (published.KIMI_LINEAR, 49_122_681_728),  # huggingface.co/moonshotai/Kimi-Linear-48B-A3B-Instruct, safetensors
    ],
)
def test_parameters_are_the_published_ones(config, parameters):
    assert parameter_count(read(config)) == parameters


@pytest.mark.parametrize(
    ("config", "tp", "held"),
    [
        (published.QWEN3_NEXT, 1, 159_348_784_896),
        (published.QWEN3_NEXT, 4, 39_925_738_176),
        (published.KIMI_LINEAR, 1, 98_247_507_968),
        (published.KIMI_LINEAR, 4, 24_616_728_704),
        (published.KIMI_LINEAR, 8, 24_122_537_792),  # 128 of 1024 rows of an expert are padded to 256
        (published.NEMOTRON_H_56B, 1, 112_648_728_576),
        (published.NEMOTRON_H_56B, 8, 14_082_797_056),
    ],
)
def test_a_rank_holds_what_vllm_allocates(config, tp, held):
    """vLLM 0.32, these configs, rank 0."""
    assert rank_weight_bytes(read(config), tp=tp) == held


def test_every_fourth_layer_of_qwen3_next_attends():
    model = read(published.QWEN3_NEXT)
    assert kinds(model)[:8] == [StateCache, StateCache, StateCache, AttentionCache] * 2
    assert model.layers[3].caches == (AttentionCache(kv_heads=2, head_dim=256, v_head_dim=256),)
    named = read({**published.QWEN3_NEXT, "layer_types": ["full_attention", "linear_attention"] * 24})
    assert kinds(named)[:2] == [AttentionCache, StateCache]


def test_queries_of_gated_attention_are_twice_as_wide():
    assert weights(read(published.QWEN3_NEXT), 3)["self_attn.q_proj"] == 2 * 16 * 256 * 2048
    plain = read({**published.QWEN3_NEXT, "attn_output_gate": False})
    assert weights(plain, 3)["self_attn.q_proj"] == 16 * 256 * 2048


def test_the_type_of_a_state_is_the_model_s_unless_the_config_says_it():
    assert read(published.QWEN3_NEXT).layers[0].caches[0].temporal_bytes == 2
    assert read({**published.QWEN3_NEXT, "mamba_ssm_dtype": "float32"}).layers[0].caches[0].temporal_bytes == 4


def test_layers_without_experts_are_dense():
    model = read({**published.QWEN3_NEXT, "mlp_only_layers": [1]})
    assert weights(model, 1)["mlp.gate_proj"] == 5120 * 2048
    assert weights(model, 0)["mlp.experts.0.gate_proj"] == 512 * 512 * 2048


QWEN35 = {
    **{key: value for key, value in published.QWEN3_NEXT.items() if not key.startswith("num_experts")},
    "model_type": "qwen3_5_text",
    "architectures": ["Qwen3_5ForCausalLM"],
}


def test_projections_of_qwen3_5_are_apart_in_the_checkpoint():
    found = weights(read(QWEN35), 0)
    assert found["linear_attn.in_proj_qkv"] == (2 * 16 * 128 + 32 * 128) * 2048
    assert found["linear_attn.in_proj_z"] == 32 * 128 * 2048
    assert found["linear_attn.in_proj_a"] == found["linear_attn.in_proj_b"] == 32 * 2048
    assert weights(read(published.QWEN3_NEXT), 0)["linear_attn.in_proj_ba"] == 2 * 32 * 2048


def test_a_wrapper_puts_a_vision_tower_before_qwen3_5():
    vision = {
        "depth": 2,
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_heads": 16,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "num_position_embeddings": 2304,
        "out_hidden_size": 2048,
    }
    outer = {"architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5"}
    model = read({**outer, "text_config": {**QWEN35, "architectures": None}, "vision_config": vision})
    assert model.vision
    assert model.name == "Qwen3_5ForConditionalGeneration"
    assert model.layers[0].prefix == "model.language_model.layers.0"
    assert model.layers == tuple(
        msgspec.structs.replace(layer, prefix=f"model.language_model.layers.{index}")
        for index, layer in enumerate(read(QWEN35).layers)
    )


def test_a_nemotron_h_layer_is_one_block():
    model = read(published.NEMOTRON_H_56B)
    assert [layer.caches for layer in model.layers[1:2]] == [()]
    assert kinds(model).count(StateCache) == 54
    assert kinds(model).count(AttentionCache) == 10
    mamba = weights(model, 0)
    assert mamba["mixer.in_proj"] == (2 * 256 * 64 + 2 * 8 * 256 + 256) * 8192
    assert mamba["mixer.conv1d"] == (256 * 64 + 2 * 8 * 256) * (4 + 1)
    assert weights(model, 1) == {"mixer.up_proj": 32768 * 8192, "mixer.down_proj": 32768 * 8192, "norm": 8192}


NEMOTRON_3 = {
    **published.NEMOTRON_H_56B,
    "hybrid_override_pattern": None,
    "layers_block_type": ["mamba", "moe", "attention"],
    "n_routed_experts": 512,
    "num_experts_per_tok": 22,
    "moe_intermediate_size": 5120,
    "moe_shared_expert_intermediate_size": 10240,
    "n_shared_experts": 1,
}


def test_experts_may_work_in_a_narrower_space():
    narrow = weights(read({**NEMOTRON_3, "moe_latent_size": 2048}), 1)
    assert narrow["mixer.experts.0.up_proj"] == 512 * 5120 * 2048
    assert narrow["mixer.fc1_latent_proj"] == narrow["mixer.fc2_latent_proj"] == 2048 * 8192
    assert narrow["mixer.shared_experts.up_proj"] == 10240 * 8192
    assert weights(read(NEMOTRON_3), 1)["mixer.experts.0.up_proj"] == 512 * 5120 * 8192


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (published.NEMOTRON_H_56B, "mixer.in_proj: 8 heads do not divide by 16"),
        ({**published.NEMOTRON_H_56B, "n_groups": 1}, None),
        (published.QWEN3_NEXT, None),
        ({**QWEN35, "linear_num_key_heads": 8}, "linear_attn.in_proj_qkv: 8 heads do not divide by 16"),
        (published.KIMI_LINEAR, None),
    ],
)
def test_heads_and_groups_of_a_state_must_divide(config, why):
    assert why_not(read(config), tp=16) == why


def test_kimi_linear_mixes_recurrent_and_latent_layers():
    model = read(published.KIMI_LINEAR)
    assert kinds(model)[:4] == [StateCache, StateCache, StateCache, LatentCache]
    assert kinds(model)[-1] is LatentCache
    assert weights(model, 0)["self_attn.q_conv1d"] == 32 * 128 * 4
    assert weights(model, 1)["block_sparse_moe.experts.0.w1"] == 256 * 1024 * 2304


K3 = {
    **published.KIMI_LINEAR,
    "linear_attn_config": {**published.KIMI_LINEAR["linear_attn_config"], "use_full_rank_gate": True},
    "mla_use_output_gate": True,
    "attn_res_block_size": 12,
    "routed_expert_hidden_size": 1152,
    "latent_moe_use_norm": True,
}


def test_kimi_k3_gates_its_output_and_weighs_its_residuals():
    model = read(K3)
    assert weights(model, 0)["self_attn.g_proj"] == 32 * 128 * 2304
    assert weights(model, 3)["self_attn.g_proj"] == 32 * 128 * 2304
    assert weights(model, 0)["mlp_res_proj"] == weights(model, 0)["mlp_res_norm"] == 2304
    assert [w.name for w in model.last][1:3] == ["model.output_attn_res_norm", "model.output_attn_res_proj"]


def test_kimi_k3_experts_work_in_a_narrower_space():
    moe = weights(read(K3), 1)
    assert moe["block_sparse_moe.experts.0.w1"] == 256 * 1024 * 1152
    assert moe["block_sparse_moe.routed_expert_norm"] == 1152
    assert moe["block_sparse_moe.routed_expert_up_proj"] == 1152 * 2304


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({**published.QWEN3_NEXT, "layer_types": ["sliding_attention"] * 48}, "layer_types"),
        ({**published.QWEN3_NEXT, "mamba_ssm_dtype": "int8"}, "mamba_ssm_dtype"),
        ({**published.QWEN3_NEXT, "mamba_ssm_dtype": ["float32"]}, "mamba_ssm_dtype"),
        ({**published.QWEN3_NEXT, "layer_scale": True}, "layer_scale"),
        ({**QWEN35, "intermediate_size": None}, "intermediate_size"),
        ({**published.NEMOTRON_H_56B, "hybrid_override_pattern": "M?"}, "kind '\\?'"),
        ({**published.NEMOTRON_H_56B, "block_configs": [{}]}, "block_configs"),
        ({**published.NEMOTRON_H_56B, "mamba_ssm_cache_dtype": "int8"}, "mamba_ssm_cache_dtype"),
        ({**published.NEMOTRON_H_56B, "mamba_ssm_cache_dtype": {}}, "mamba_ssm_cache_dtype"),
        ({**published.KIMI_LINEAR, "num_hidden_layers": 28}, "name each of 28 layers"),
        ({**published.KIMI_LINEAR, "model_type": "kimi_k3", "text_config": {"model_type": "llama"}}, "model_type"),
    ],
)
def test_what_is_not_understood_is_not_known(config, what):
    with pytest.raises(NotKnown, match=what):
        read(config)
