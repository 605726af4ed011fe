"""What would the ``config.json`` of a GGUF file say? One row for each architecture that ggml and the families share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from diag.planner.model.gguf_files import GgufFile
from diag.planner.unknown import NotKnown, others

SIGMOID = 2
"""``expert_gating_func`` of DeepSeek V3 (LLAMA_EXPERT_GATING_FUNC_TYPE_SIGMOID)."""
KINDS_OF_LAYER = ("full_attention", "sliding_attention")
CHUNK = 8192
"""Of Llama 4's attention: no key has it (llama.cpp, llama4)."""

Keys = dict[str, Any]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """``own``: keys that only this architecture has."""

    model_type: str
    architecture: str
    own: Callable[[GgufFile], Keys] | None = None
    ggml: str = ""
    """What the gguf library calls it, where that is another name."""


def config_of(file: GgufFile) -> Mapping[str, Any]:
    name = file.architecture
    if name not in KINDS:
        raise NotKnown(f"GGUF architecture {name!r}: {others(name, KINDS)}")
    kind = KINDS[name]
    own = kind.own(file) if kind.own else {}
    return {"architectures": [kind.architecture], "model_type": kind.model_type, **common(file), **own}


def common(file: GgufFile) -> Keys:
    """Keys that every decoder has."""
    hidden, heads = file.count("embedding_length"), file.count("attention.head_count")
    return {
        "num_hidden_layers": file.count("block_count"),
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": file.count("attention.head_count_kv", heads),
        "head_dim": _head_dim(file, hidden, heads),
        "intermediate_size": file.count("feed_forward_length", 0),
        "vocab_size": file.rows,
        "max_position_embeddings": file.count("context_length"),
        "torch_dtype": "float16",
        "tie_word_embeddings": not file.has("output.weight"),
        **_experts(file),
    }


def _head_dim(file: GgufFile, hidden: int, heads: int) -> int:
    dim = file.count("attention.key_length", hidden // heads)
    values = file.count("attention.value_length", dim)
    if values != dim and not file.count("attention.kv_lora_rank", 0):
        raise NotKnown(f"{file.path}: values of {values} beside keys of {dim}")
    return dim


def _experts(file: GgufFile) -> Keys:
    if not file.count("expert_count", 0):
        return {}
    return {
        "num_experts": file.count("expert_count"),
        "num_local_experts": file.count("expert_count"),
        "num_experts_per_tok": file.count("expert_used_count"),
        "moe_intermediate_size": file.count("expert_feed_forward_length", file.count("feed_forward_length", 0)),
    }


def _biases(file: GgufFile) -> Keys:
    """No key says so, the tensors do."""
    output, queries = file.has("blk.0.attn_output.bias"), file.has("blk.0.attn_q.bias")
    return {"attention_bias": output, "qkv_bias": queries, "mlp_bias": file.has("blk.0.ffn_up.bias")}


def _llama(file: GgufFile) -> Keys:
    """Mixtral goes by the same name."""
    if not file.count("expert_count", 0):
        return _biases(file)
    return {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}


def _query_bias(file: GgufFile) -> Keys:
    return {"attention_bias": file.has("blk.0.attn_q.bias")}


def _qwen_moe(file: GgufFile) -> Keys:
    return {"shared_expert_intermediate_size": file.count("expert_shared_feed_forward_length", 0)}


def _window(file: GgufFile) -> Keys:
    """Every how many-th layer has none, or which have one; without the key in turns that the family knows."""
    window = {"sliding_window": file.count("attention.sliding_window")}
    turns = file.metadata.get(f"{file.architecture}.attention.sliding_window_pattern")
    if isinstance(turns, list):
        return {**window, "layer_types": [KINDS_OF_LAYER[bool(one)] for one in turns]}
    return window if turns is None else {**window, "sliding_window_pattern": int(turns)}


def _gpt_oss(file: GgufFile) -> Keys:
    inner = file.count("feed_forward_length", 0)
    return {**_window(file), "intermediate_size": file.count("expert_feed_forward_length", inner)}


def _llama4(file: GgufFile) -> Keys:
    return {
        "intermediate_size": file.count("expert_feed_forward_length"),
        "intermediate_size_mlp": file.count("feed_forward_length"),
        "interleave_moe_layer_step": file.count("interleave_moe_layer_step"),
        "attention_chunk_size": CHUNK,
    }


def _deepseek(file: GgufFile) -> Keys:
    rope, keys = file.count("rope.dimension_count"), file.count("attention.key_length_mla", 0)
    if not keys:
        raise NotKnown(f"{file.path}: latent attention of before llama.cpp cached it so", "convert the model anew")
    sigmoid = file.count("expert_gating_func", 1) == SIGMOID
    return {
        "model_type": "deepseek_v3" if sigmoid else "deepseek_v2",
        "architectures": ["DeepseekV3ForCausalLM" if sigmoid else "DeepseekV2ForCausalLM"],
        "num_key_value_heads": file.count("attention.head_count"),
        "qk_rope_head_dim": rope,
        "qk_nope_head_dim": keys - rope,
        "v_head_dim": file.count("attention.value_length_mla"),
        "kv_lora_rank": file.count("attention.kv_lora_rank"),
        "q_lora_rank": file.count("attention.q_lora_rank", 0) or None,
        "n_routed_experts": file.count("expert_count", 0),
        "n_shared_experts": file.count("expert_shared_count", 0) or None,
        "first_k_dense_replace": file.count("leading_dense_block_count", 0),
        "topk_method": "noaux_tc" if any("exp_probs_b" in tensor.name for tensor in file.tensors) else None,
    }


KINDS: Mapping[str, Kind] = {
    "llama": Kind(model_type="llama", architecture="LlamaForCausalLM", own=_llama),
    "mistral3": Kind(model_type="ministral3", architecture="Ministral3ForCausalLM"),
    "granite": Kind(model_type="granite", architecture="GraniteForCausalLM", own=_biases),
    "seed_oss": Kind(model_type="seed_oss", architecture="SeedOssForCausalLM", own=_query_bias),
    "smollm3": Kind(model_type="smollm3", architecture="SmolLM3ForCausalLM"),
    "phi3": Kind(model_type="phi3", architecture="Phi3ForCausalLM"),
    "qwen2": Kind(model_type="qwen2", architecture="Qwen2ForCausalLM"),
    "qwen2vl": Kind(model_type="qwen2", architecture="Qwen2ForCausalLM"),
    "qwen2moe": Kind(model_type="qwen2_moe", architecture="Qwen2MoeForCausalLM", own=_qwen_moe),
    "qwen3": Kind(model_type="qwen3", architecture="Qwen3ForCausalLM"),
    "qwen3vl": Kind(model_type="qwen3", architecture="Qwen3ForCausalLM"),
    "qwen3moe": Kind(model_type="qwen3_moe", architecture="Qwen3MoeForCausalLM"),
    "qwen3vlmoe": Kind(model_type="qwen3_moe", architecture="Qwen3MoeForCausalLM"),
    "glm4": Kind(model_type="glm4", architecture="Glm4ForCausalLM", own=_query_bias),
    "gemma": Kind(model_type="gemma", architecture="GemmaForCausalLM"),
    "gemma2": Kind(model_type="gemma2", architecture="Gemma2ForCausalLM", own=_window),
    "gemma3": Kind(model_type="gemma3_text", architecture="Gemma3ForCausalLM", own=_window),
    "gpt-oss": Kind(model_type="gpt_oss", architecture="GptOssForCausalLM", own=_gpt_oss),
    "gptoss": Kind(model_type="gpt_oss", architecture="GptOssForCausalLM", own=_gpt_oss, ggml="gpt-oss"),
    "llama4": Kind(model_type="llama4_text", architecture="Llama4ForCausalLM", own=_llama4),
    "deepseek2": Kind(model_type="deepseek_v3", architecture="DeepseekV3ForCausalLM", own=_deepseek),
}
"""By ``general.architecture``; ``gptoss`` is Ollama's own name. A vision tower in a file of its own is not planned."""
