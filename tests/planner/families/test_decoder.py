"""Decoders with the same attention in every layer: counts derived by hand from a small config."""

from __future__ import annotations

import pytest

from diag.planner.model.architecture import AttentionCache
from diag.planner.model.families import read
from diag.planner.model.shards import parameter_count
from diag.planner.unknown import NotKnown
from tests.planner.families.weighing import ATTENTION, GATED, INNER, SMALL, A, D, H, K, V, elements, small, total

QKV_BIAS = A * D + 2 * K * D
MOE = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
EXPERTS = 8 * 3 * H * 32


def test_a_llama_is_attention_a_gated_mlp_and_two_norms_between_embedding_and_head():
    model = small("llama", "LlamaForCausalLM")
    assert total(model, 0) == ATTENTION + GATED + 2 * H
    assert parameter_count(model) == 4 * (ATTENTION + GATED + 2 * H) + 2 * V * H + H
    assert [weight.name for weight in (*model.first, *model.last)] == ["model.embed_tokens", "model.norm", "lm_head"]


def test_a_tied_head_is_counted_once():
    assert parameter_count(small("llama", "LlamaForCausalLM")) - parameter_count(
        small("llama", "LlamaForCausalLM", tie_word_embeddings=True)
    ) == (V * H)


def test_every_layer_keeps_keys_and_values_of_its_kv_heads():
    model = small("llama", "LlamaForCausalLM")
    assert {layer.caches for layer in model.layers} == {(AttentionCache(kv_heads=K, head_dim=D, v_head_dim=D),)}
    assert (model.heads, model.kv_heads, model.inner, model.max_len) == (A, K, INNER, 4096)


def test_the_head_dim_is_read_and_not_derived():
    model = small("qwen3", "Qwen3ForCausalLM", head_dim=32)
    assert elements(model, 0)["self_attn.q_proj"] == A * 32 * H
    assert elements(model, 0)["self_attn.o_proj"] == H * A * 32
    assert model.layers[0].caches == (AttentionCache(kv_heads=K, head_dim=32, v_head_dim=32),)


def test_without_kv_heads_every_head_has_its_own():
    model = small("llama", "LlamaForCausalLM", num_key_value_heads=None)
    assert model.kv_heads == A


@pytest.mark.parametrize(
    ("config", "extra"),
    [
        (("llama", "LlamaForCausalLM", {"attention_bias": True}), QKV_BIAS + H),
        (("llama", "LlamaForCausalLM", {"mlp_bias": True}), 2 * INNER + H),
        (("internlm3", "InternLM3ForCausalLM", {"qkv_bias": True}), QKV_BIAS),
        (("qwen2", "Qwen2ForCausalLM", {}), QKV_BIAS),
        (("mimo", "MiMoForCausalLM", {}), QKV_BIAS),
        (("qwen3", "Qwen3ForCausalLM", {}), 2 * D),
        (("glm", "GlmForCausalLM", {"attention_bias": True}), QKV_BIAS),
        (("glm4", "Glm4ForCausalLM", {}), 2 * H),
        (("gemma2", "Gemma2ForCausalLM", {"head_dim": D}), 2 * H),
        (("gemma3_text", "Gemma3ForCausalLM", {"head_dim": D}), 2 * H + 2 * D),
        (("phi3", "Phi3ForCausalLM", {}), 0),
        (("mistral", "MistralForCausalLM", {}), 0),
        (("internlm2", "InternLM2ForCausalLM", {}), 0),
        (("granite", "GraniteForCausalLM", {"attention_bias": True, "mlp_bias": True}), QKV_BIAS + H + 2 * INNER + H),
        (("seed_oss", "SeedOssForCausalLM", {}), QKV_BIAS),
        (("ernie4_5", "Ernie4_5ForCausalLM", {"use_bias": True}), QKV_BIAS + H + 2 * INNER + H),
        (("smollm3", "SmolLM3ForCausalLM", {}), 0),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else str(given),
)
def test_a_layer_has_its_family_s_biases_and_norms(config, extra):
    model_type, architecture, keys = config
    assert total(small(model_type, architecture, **keys), 0) == ATTENTION + GATED + 2 * H + extra


@pytest.mark.parametrize("model_type", ["phi3", "glm", "glm4"])
def test_a_stored_gate_and_up_matrix_is_divided_by_its_halves(model_type):
    names = {"phi3": "Phi3ForCausalLM", "glm": "GlmForCausalLM", "glm4": "Glm4ForCausalLM"}
    weights = small(model_type, names[model_type]).layers[0].weights
    assert [(one.rows, one.shard) for one in weights if one.name == "mlp.gate_up_proj"] == [
        (INNER, "rows"),
        (INNER, "rows"),
    ]


def test_stored_queries_keys_and_values_of_phi_3_are_divided_by_their_own_heads():
    weights = small("phi3", "Phi3ForCausalLM").layers[0].weights
    assert [one.heads for one in weights if one.name == "self_attn.qkv_proj"] == [A, K, K]


def test_a_layer_with_experts_has_a_router_and_whole_mlps():
    model = small("qwen3_moe", "Qwen3MoeForCausalLM", **MOE)
    assert total(model, 0) == ATTENTION + 2 * D + 2 * H + 8 * H + EXPERTS
    assert (model.experts, model.experts_per_token) == (8, 2)


def test_some_layers_stay_dense():
    model = small("qwen3_moe", "Qwen3MoeForCausalLM", **MOE, decoder_sparse_step=2, mlp_only_layers=[3])
    assert ["mlp.gate" in elements(model, layer) for layer in range(4)] == [False, True, False, False]
    first = small(
        "glm4_moe", "Glm4MoeForCausalLM", **MOE, n_routed_experts=8, n_shared_experts=1, first_k_dense_replace=1
    )
    assert ["mlp.gate" in elements(first, layer) for layer in range(4)] == [False, True, True, True]


def test_a_mixtral_calls_its_experts_by_other_names():
    model = small("mixtral", "MixtralForCausalLM", num_local_experts=8, num_experts_per_tok=2)
    assert total(model, 0) == ATTENTION + 2 * H + 8 * H + 8 * GATED
    assert elements(model, 0)["block_sparse_moe.experts.0.w2"] == 8 * H * INNER


def test_qwen2_moe_has_a_shared_expert_with_a_gate():
    model = small("qwen2_moe", "Qwen2MoeForCausalLM", **MOE, shared_expert_intermediate_size=48)
    assert total(model, 0) == ATTENTION + QKV_BIAS + 2 * H + 8 * H + EXPERTS + 3 * H * 48 + H


def test_glm_4_moe_shares_as_many_experts_as_it_says():
    model = small("glm4_moe", "Glm4MoeForCausalLM", **MOE, n_routed_experts=8, n_shared_experts=2, use_qk_norm=True)
    assert total(model, 0) == ATTENTION + 2 * D + 2 * H + 8 * H + 8 + EXPERTS + 2 * 3 * H * 32
    (correction,) = (one for one in model.layers[0].weights if one.name.endswith("correction_bias"))
    assert correction.dtype_bytes == 4


def test_minimax_norms_the_whole_width_of_queries_and_keys():
    model = small(
        "minimax_m2", "MiniMaxM2ForCausalLM", num_local_experts=8, num_experts_per_tok=2, use_routing_bias=True
    )
    assert total(model, 0) == ATTENTION + (A + K) * D + 2 * H + 8 * H + 8 + 8 * GATED
    norms = [one for one in model.layers[0].weights if one.name.endswith(("q_norm", "k_norm"))]
    assert [(one.shard, one.heads) for one in norms] == [("heads", A), ("heads", K)]


def test_draft_layers_are_named_and_not_counted():
    keys = {**MOE, "n_routed_experts": 8, "n_shared_experts": 1}
    with_draft = small("glm4_moe", "Glm4MoeForCausalLM", **keys, num_nextn_predict_layers=1)
    assert len(with_draft.layers) == 4
    assert with_draft.left_out == ("1 draft layer (multi-token prediction, num_nextn_predict_layers)",)


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"model_type": "bloom"}, "model_type 'bloom': the planner knows"),
        ({"model_type": None}, "model_type ''"),
        ({"architectures": ["SomethingElse"]}, "architectures 'SomethingElse' of model_type llama"),
        ({"architectures": ["A", "B"]}, "architectures in config.json: found"),
        ({"num_hidden_layers": None}, "num_hidden_layers in config.json: found 'None', expected an integer"),
        ({"num_hidden_layers": "many"}, "found 'many'"),
        ({"num_attention_heads": 0}, "num_attention_heads"),
        ({"num_attention_heads": 5}, "hidden_size 64 is no multiple of 5 heads"),
        ({"kv_lora_rank": 512}, "kv_lora_rank in a config of model_type llama: attention of another kind"),
        ({"torch_dtype": "int3"}, "torch_dtype 'int3'"),
        ({"attention_bias": "yes"}, "attention_bias"),
    ],
)
def test_what_is_not_understood_is_not_known(keys, what):
    with pytest.raises(NotKnown, match=what):
        read({**SMALL, "model_type": "llama", "architectures": ["LlamaForCausalLM"], **keys})
