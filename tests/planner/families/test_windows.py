"""Decoders whose layers see a window or a chunk: which layers, how far, and what these layers have."""

from __future__ import annotations

import pytest

from diag.planner.model.architecture import AttentionCache, Layer
from diag.planner.model.families import read
from diag.planner.unknown import NotKnown
from tests.planner.families.weighing import ATTENTION, GATED, INNER, SMALL, A, D, H, K, elements, small, total


def reach(layers: tuple[Layer, ...]) -> list[int]:
    """Tokens that each layer sees; 0: all."""
    return [cache.window or cache.chunk for layer in layers for cache in layer.caches]


FULL, WINDOW = "full_attention", "sliding_attention"


def test_a_window_is_of_all_layers_where_nothing_says_otherwise():
    assert reach(small("mistral", "MistralForCausalLM", sliding_window=128).layers) == [128] * 4
    assert reach(small("mistral", "MistralForCausalLM", sliding_window=None).layers) == [0] * 4


def test_qwen_names_a_window_that_is_not_used():
    assert reach(small("qwen2", "Qwen2ForCausalLM", sliding_window=128).layers) == [0] * 4
    used = {"sliding_window": 128, "use_sliding_window": True}
    assert reach(small("qwen2", "Qwen2ForCausalLM", **used, max_window_layers=4).layers) == [128] * 4
    with pytest.raises(NotKnown, match="max_window_layers: engines differ"):
        small("qwen2", "Qwen2ForCausalLM", **used, max_window_layers=2)


def test_every_second_layer_of_gemma_2_has_a_window():
    model = small("gemma2", "Gemma2ForCausalLM", sliding_window=128, head_dim=D)
    assert reach(model.layers) == [128, 0, 128, 0]


def test_five_of_six_layers_of_gemma_3_have_a_window():
    keys = {"num_hidden_layers": 12, "sliding_window": 128}
    assert reach(small("gemma3_text", "Gemma3ForCausalLM", **keys).layers) == [*[128] * 5, 0] * 2
    every_third = small("gemma3_text", "Gemma3ForCausalLM", **keys, sliding_window_pattern=3)
    assert reach(every_third.layers) == [128, 128, 0] * 4
    named = small("gemma3_text", "Gemma3ForCausalLM", **keys, layer_types=[FULL, WINDOW] * 6)
    assert reach(named.layers) == [0, 128] * 6


def test_gemma_is_tied_and_has_heads_of_256_where_it_does_not_say():
    silent = {key: value for key, value in SMALL.items() if key != "tie_word_embeddings"}
    model = read({**silent, "model_type": "gemma", "architectures": ["GemmaForCausalLM"]})
    assert model.tied
    assert elements(model, 0)["self_attn.q_proj"] == A * 256 * H


@pytest.mark.parametrize("kind", ["linear_attention", None])
def test_a_kind_of_layer_that_the_family_does_not_have_is_not_known(kind):
    with pytest.raises(NotKnown, match="layer_types"):
        small("gemma2", "Gemma2ForCausalLM", layer_types=[kind] * 4, sliding_window=128)


GPT_OSS = {"num_local_experts": 8, "num_experts_per_tok": 2, "sliding_window": 128}


def test_gpt_oss_has_biases_sinks_and_experts_in_every_layer():
    model = small("gpt_oss", "GptOssForCausalLM", **GPT_OSS)
    attention = ATTENTION + (A + 2 * K) * D + H + A  # biases of q, k, v and o, a sink a head
    experts = 8 * (GATED + 2 * INNER + H)
    assert total(model, 0) == attention + 2 * H + 8 * H + 8 + experts
    assert reach(model.layers) == [128, 0, 128, 0]


def test_mxfp4_parts_of_gpt_oss_are_padded_to_64():
    quantized = small("gpt_oss", "GptOssForCausalLM", **GPT_OSS, quantization_config={"quant_method": "mxfp4"})
    assert {one.part_multiple for one in quantized.layers[0].weights if one.expert} == {64}
    plain = small("gpt_oss", "GptOssForCausalLM", **GPT_OSS)
    assert {one.part_multiple for one in plain.layers[0].weights if one.expert} == {1}


LLAMA4 = {"num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 192, "num_hidden_layers": 8}


def test_every_fourth_layer_of_llama_4_sees_all_and_the_others_their_chunk():
    model = small("llama4_text", "Llama4ForCausalLM", **LLAMA4)
    assert reach(model.layers) == [8192, 8192, 8192, 0] * 2
    assert all(cache.chunk and not cache.window for cache in model.layers[0].caches)
    listed = small("llama4_text", "Llama4ForCausalLM", **LLAMA4, no_rope_layers=[0, 1] * 4, attention_chunk_size=64)
    assert reach(listed.layers) == [0, 64] * 4


def test_llama_4_has_experts_and_a_shared_one_in_the_layers_that_its_step_names():
    model = small("llama4_text", "Llama4ForCausalLM", **LLAMA4, interleave_moe_layer_step=2)
    assert total(model, 0) == ATTENTION + 2 * H + 3 * H * 192
    assert total(model, 1) == ATTENTION + 2 * H + 4 * H + 4 * GATED + GATED
    every = small("llama4_text", "Llama4ForCausalLM", **LLAMA4)
    assert total(every, 0) == total(model, 1)


MIMO = {
    "hybrid_layer_pattern": [0, 1, 1, 0],
    "moe_layer_freq": [0, 1, 1, 1],
    "head_dim": 16,
    "v_head_dim": 8,
    "swa_head_dim": 16,
    "swa_v_head_dim": 8,
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 4,
    "sliding_window_size": 128,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "attention_bias": False,
    "add_swa_attention_sink_bias": True,
}


def test_values_of_mimo_are_narrower_than_keys():
    model = small("mimo_v2_flash", "MiMoV2FlashForCausalLM", **MIMO)
    assert model.layers[0].caches == (AttentionCache(kv_heads=K, head_dim=16, v_head_dim=8),)
    assert model.layers[1].caches == (AttentionCache(kv_heads=4, head_dim=16, v_head_dim=8, window=128),)
    assert elements(model, 0)["self_attn.o_proj"] == H * A * 8


def test_windows_of_mimo_have_their_own_heads_and_a_sink_for_each():
    model = small("mimo_v2_flash", "MiMoV2FlashForCausalLM", **MIMO)
    full = A * 16 * H + K * 16 * H + K * 8 * H + H * A * 8
    window = 4 * 16 * H + 4 * 16 * H + 4 * 8 * H + H * 4 * 8 + 4
    routed = 8 * H + 8 + 8 * 3 * H * 32
    assert [total(model, layer) for layer in range(4)] == [
        full + 2 * H + GATED,
        window + 2 * H + routed,
        window + 2 * H + routed,
        full + 2 * H + routed,
    ]


GEMMA4 = {
    "num_hidden_layers": 6,
    "head_dim": 16,
    "global_head_dim": 32,
    "sliding_window": 128,
    "vocab_size_per_layer_input": 1000,
    "hidden_size_per_layer_input": 0,
}


def test_layers_of_gemma_4_that_see_all_have_wider_heads():
    model = small("gemma4_text", "Gemma4ForCausalLM", **GEMMA4)
    assert reach(model.layers) == [128, 128, 128, 128, 128, 0]
    assert elements(model, 0)["self_attn.q_proj"] == A * 16 * H
    assert elements(model, 5)["self_attn.q_proj"] == A * 32 * H


def test_values_of_gemma_4_can_be_the_keys_again_and_are_then_in_no_checkpoint():
    same = {"attention_k_eq_v": True, "num_global_key_value_heads": 1}
    model = small("gemma4_text", "Gemma4ForCausalLM", **GEMMA4, **same)
    stored = {one.name: one.stored for one in model.layers[5].weights}
    assert (stored["self_attn.k_proj"], stored["self_attn.v_proj"]) == (True, False)
    assert model.layers[5].caches == (AttentionCache(kv_heads=1, head_dim=32, v_head_dim=32),)
    assert all(one.stored for one in model.layers[0].weights)


def test_the_last_layers_of_gemma_4_attend_to_the_cache_of_an_earlier_one():
    model = small("gemma4_text", "Gemma4ForCausalLM", **GEMMA4, num_kv_shared_layers=2, use_double_wide_mlp=True)
    assert [len(layer.caches) for layer in model.layers] == [1, 1, 1, 1, 0, 0]
    assert "self_attn.k_proj" not in elements(model, 4)
    assert elements(model, 4)["mlp.up_proj"] == 2 * elements(model, 3)["mlp.up_proj"]


def test_experts_of_gemma_4_stand_beside_the_mlp():
    moe = {"enable_moe_block": True, "num_experts": 8, "top_k_experts": 2, "moe_intermediate_size": 32}
    plain, routed = (small("gemma4_text", "Gemma4ForCausalLM", **GEMMA4, **keys) for keys in ({}, moe))
    assert total(routed, 0) - total(plain, 0) == 8 * H + H + 8 + 8 * 3 * H * 32 + 3 * H


def test_a_second_embedding_of_gemma_4_has_a_part_for_each_layer():
    model = small("gemma4_text", "Gemma4ForCausalLM", **{**GEMMA4, "hidden_size_per_layer_input": 8})
    found = {one.name: one.rows * one.columns for one in model.first}
    assert found["model.embed_tokens_per_layer"] == 1000 * 8 * 6
    assert found["model.per_layer_model_projection"] == 8 * 6 * H
    assert elements(model, 0)["per_layer_projection"] == 8 * H
