"""How do tests write GGUF files? With llama.cpp's names of tensors and keys, by hand, for each architecture it has.

Two layers, so that files are small; the vocabulary and all inner sizes are whole blocks of every type.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import msgspec
import numpy as np

Shapes = Mapping[str, tuple[int, ...]]
"""Rows come first, as in numpy; ggml counts the other way round."""
H, V, INNER = 256, 1024, 512
HEADS, KV, DIM = 8, 2, 32


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """``keys`` below the architecture's name; ``layer``: tensors of each; ``config``: what Hugging Face's would say."""

    keys: Mapping[str, Any]
    layer: Shapes
    config: Mapping[str, Any]
    dense: Shapes = {}
    """Of the first layer, where it differs."""
    tied: bool = False


QKVO: Shapes = {"attn_q.weight": (HEADS * DIM, H), "attn_k.weight": (KV * DIM, H), "attn_v.weight": (KV * DIM, H),
                "attn_output.weight": (H, HEADS * DIM)}  # fmt: skip
QKV_BIAS: Shapes = {"attn_q.bias": (HEADS * DIM,), "attn_k.bias": (KV * DIM,), "attn_v.bias": (KV * DIM,)}
QK_NORM: Shapes = {"attn_q_norm.weight": (DIM,), "attn_k_norm.weight": (DIM,)}
NORMS: Shapes = {"attn_norm.weight": (H,), "ffn_norm.weight": (H,)}
POST_NORMS: Shapes = {"post_attention_norm.weight": (H,), "post_ffw_norm.weight": (H,)}
MLP: Shapes = {"ffn_gate.weight": (INNER, H), "ffn_up.weight": (INNER, H), "ffn_down.weight": (H, INNER)}
FUSED_MLP: Shapes = {"ffn_up.weight": (2 * INNER, H), "ffn_down.weight": (H, INNER)}
E, X, S = 8, 128, 64
EXPERTS: Shapes = {"ffn_gate_inp.weight": (E, H), "ffn_gate_exps.weight": (E, X, H), "ffn_up_exps.weight": (E, X, H),
                   "ffn_down_exps.weight": (E, H, X)}  # fmt: skip
SHARED: Shapes = {"ffn_gate_shexp.weight": (S, H), "ffn_up_shexp.weight": (S, H), "ffn_down_shexp.weight": (H, S)}
LATENT: Shapes = {"attn_q_a.weight": (96, H), "attn_q_a_norm.weight": (96,), "attn_q_b.weight": (HEADS * 96, 96),
                  "attn_kv_a_mqa.weight": (160, H), "attn_kv_a_norm.weight": (128,),
                  "attn_k_b.weight": (HEADS, 128, 64), "attn_v_b.weight": (HEADS, 64, 128),
                  "attn_output.weight": (H, HEADS * 64)}  # fmt: skip
COMMON = {"context_length": 4096, "embedding_length": H, "block_count": 2, "attention.head_count": HEADS,
          "attention.head_count_kv": KV}  # fmt: skip
DENSE = {**COMMON, "feed_forward_length": INNER}
OF_EXPERTS = {**DENSE, "expert_count": E, "expert_used_count": 2}
SIZED = {"hidden_size": H, "num_attention_heads": HEADS, "num_key_value_heads": KV, "num_hidden_layers": 2,
         "vocab_size": V, "intermediate_size": INNER, "max_position_embeddings": 4096, "torch_dtype": "float16",
         "head_dim": DIM, "tie_word_embeddings": False}  # fmt: skip


def _config(model_type: str, **keys: Any) -> dict[str, Any]:
    return {**SIZED, "model_type": model_type, **keys}


CASES: Mapping[str, Case] = {
    "llama": Case(keys=DENSE, layer={**QKVO, **NORMS, **MLP}, config=_config("llama")),
    "llama with biases": Case(
        keys=DENSE,
        layer={**QKVO, **QKV_BIAS, "attn_output.bias": (H,), **NORMS, **MLP},
        config=_config("llama", attention_bias=True),
    ),
    "llama with experts": Case(
        keys={**OF_EXPERTS, "feed_forward_length": X},
        layer={**QKVO, **NORMS, **EXPERTS},
        config=_config("mixtral", intermediate_size=X, num_local_experts=E, num_experts_per_tok=2),
    ),
    "mistral3": Case(keys=DENSE, layer={**QKVO, **NORMS, **MLP}, config=_config("ministral3")),
    "granite": Case(keys=DENSE, layer={**QKVO, **NORMS, **MLP}, config=_config("granite")),
    "seed_oss": Case(
        keys=DENSE,
        layer={**QKVO, **QKV_BIAS, "attn_norm.weight": (H,), "post_attention_norm.weight": (H,), **MLP},
        config=_config("seed_oss"),
    ),
    "smollm3": Case(
        keys=DENSE, layer={**QKVO, **NORMS, **MLP}, config=_config("smollm3", tie_word_embeddings=True), tied=True
    ),
    "phi3": Case(
        keys={**DENSE, "attention.sliding_window": 2047},
        layer={"attn_qkv.weight": ((HEADS + 2 * KV) * DIM, H), "attn_output.weight": (H, HEADS * DIM),
               **NORMS, **FUSED_MLP},
        config=_config("phi3"),
    ),
    "qwen2": Case(keys=DENSE, layer={**QKVO, **QKV_BIAS, **NORMS, **MLP}, config=_config("qwen2")),
    "qwen2vl": Case(keys=DENSE, layer={**QKVO, **QKV_BIAS, **NORMS, **MLP}, config=_config("qwen2")),
    "qwen2moe": Case(
        keys={**OF_EXPERTS, "expert_feed_forward_length": X, "expert_shared_feed_forward_length": S},
        layer={**QKVO, **QKV_BIAS, **NORMS, **EXPERTS, **SHARED, "ffn_gate_inp_shexp.weight": (H,)},
        config=_config("qwen2_moe", num_experts=E, num_experts_per_tok=2, moe_intermediate_size=X,
                       shared_expert_intermediate_size=S),
    ),
    "qwen3": Case(keys=DENSE, layer={**QKVO, **QK_NORM, **NORMS, **MLP}, config=_config("qwen3")),
    "qwen3vl": Case(keys=DENSE, layer={**QKVO, **QK_NORM, **NORMS, **MLP}, config=_config("qwen3")),
    "qwen3moe": Case(
        keys={**OF_EXPERTS, "expert_feed_forward_length": X},
        layer={**QKVO, **QK_NORM, **NORMS, **EXPERTS},
        config=_config("qwen3_moe", num_experts=E, num_experts_per_tok=2, moe_intermediate_size=X),
    ),
    "qwen3vlmoe": Case(
        keys={**OF_EXPERTS, "expert_feed_forward_length": X},
        layer={**QKVO, **QK_NORM, **NORMS, **EXPERTS},
        config=_config("qwen3_moe", num_experts=E, num_experts_per_tok=2, moe_intermediate_size=X),
    ),
    "glm4": Case(
        keys=DENSE, layer={**QKVO, **QKV_BIAS, **NORMS, **POST_NORMS, **FUSED_MLP},
        config=_config("glm4", attention_bias=True),
    ),
    "gemma": Case(
        keys={**DENSE, "attention.key_length": DIM, "attention.value_length": DIM},
        layer={**QKVO, **NORMS, **MLP}, config=_config("gemma", tie_word_embeddings=True), tied=True,
    ),
    "gemma2": Case(
        keys={**DENSE, "attention.sliding_window": 1024},
        layer={**QKVO, **NORMS, **POST_NORMS, **MLP},
        config=_config("gemma2", tie_word_embeddings=True, sliding_window=1024), tied=True,
    ),
    "gemma3": Case(
        keys={**DENSE, "attention.sliding_window": 1024},
        layer={**QKVO, **QK_NORM, **NORMS, **POST_NORMS, **MLP},
        config=_config("gemma3_text", tie_word_embeddings=True, sliding_window=1024), tied=True,
    ),
    "gpt-oss": Case(
        keys={**OF_EXPERTS, "expert_feed_forward_length": X, "attention.sliding_window": 128},
        layer={**QKVO, **QKV_BIAS, "attn_output.bias": (H,), "attn_sinks.weight": (HEADS,),
               "attn_norm.weight": (H,), "post_attention_norm.weight": (H,), **EXPERTS,
               "ffn_gate_inp.bias": (E,), "ffn_gate_exps.bias": (E, X), "ffn_up_exps.bias": (E, X),
               "ffn_down_exps.bias": (E, H)},
        config=_config("gpt_oss", intermediate_size=X, num_local_experts=E, num_experts_per_tok=2, sliding_window=128),
    ),
    "gptoss": Case(
        keys={**OF_EXPERTS, "feed_forward_length": X, "attention.sliding_window": 128},
        layer={"attn_q.weight": (HEADS * DIM, H), "attn_k.weight": (KV * DIM, H), "attn_v.weight": (KV * DIM, H),
               **QKV_BIAS, "attn_out.weight": (H, HEADS * DIM), "attn_out.bias": (H,), "attn_sinks": (HEADS,), **NORMS,
               "ffn_gate_inp.weight": (E, H), "ffn_gate_inp.bias": (E,), "ffn_gate_up_exps.weight": (E, 2 * X, H),
               "ffn_gate_up_exps.bias": (E, 2 * X), "ffn_down_exps.weight": (E, H, X), "ffn_down_exps.bias": (E, H)},
        config=_config("gpt_oss", intermediate_size=X, num_local_experts=E, num_experts_per_tok=2, sliding_window=128),
    ),
    "gptoss fused": Case(
        keys={**OF_EXPERTS, "feed_forward_length": X, "attention.sliding_window": 128},
        layer={"attn_qkv.weight": ((HEADS + 2 * KV) * DIM, H), "attn_qkv.bias": ((HEADS + 2 * KV) * DIM,),
               "attn_out.weight": (H, HEADS * DIM), "attn_out.bias": (H,), "attn_sinks": (HEADS,), **NORMS,
               "ffn_gate_inp.weight": (E, H), "ffn_gate_inp.bias": (E,), "ffn_gate_up_exps.weight": (E, 2 * X, H),
               "ffn_gate_up_exps.bias": (E, 2 * X), "ffn_down_exps.weight": (E, H, X), "ffn_down_exps.bias": (E, H)},
        config=_config("gpt_oss", intermediate_size=X, num_local_experts=E, num_experts_per_tok=2, sliding_window=128),
    ),
    "llama4": Case(
        keys={**OF_EXPERTS, "expert_feed_forward_length": X, "interleave_moe_layer_step": 2},
        layer={**QKVO, **NORMS, **EXPERTS, "ffn_gate_shexp.weight": (X, H), "ffn_up_shexp.weight": (X, H),
               "ffn_down_shexp.weight": (H, X)},
        dense={**QKVO, **NORMS, **MLP},
        config=_config("llama4_text", intermediate_size=X, intermediate_size_mlp=INNER, interleave_moe_layer_step=2,
                       num_local_experts=E, num_experts_per_tok=2, attention_chunk_size=8192),
    ),
    "deepseek2": Case(
        keys={**OF_EXPERTS, "attention.head_count_kv": 1, "expert_feed_forward_length": X, "expert_shared_count": 1,
              "leading_dense_block_count": 1, "expert_gating_func": 2, "rope.dimension_count": 32,
              "attention.q_lora_rank": 96, "attention.kv_lora_rank": 128, "attention.key_length": 160,
              "attention.value_length": 128, "attention.key_length_mla": 96, "attention.value_length_mla": 64},
        layer={**LATENT, **NORMS, **EXPERTS, "exp_probs_b.bias": (E,), "ffn_gate_shexp.weight": (X, H),
               "ffn_up_shexp.weight": (X, H), "ffn_down_shexp.weight": (H, X)},
        dense={**LATENT, **NORMS, **MLP},
        config=_config("deepseek_v3", num_key_value_heads=HEADS, n_routed_experts=E, n_shared_experts=1,
                       num_experts_per_tok=2, moe_intermediate_size=X, first_k_dense_replace=1, q_lora_rank=96,
                       kv_lora_rank=128, qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=64,
                       topk_method="noaux_tc"),
    ),
}  # fmt: skip


def tensors(case: Case) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (V, H), "output_norm.weight": (H,)}
    found |= {} if case.tied else {"output.weight": (V, H)}
    for layer in range(case.keys["block_count"]):
        of_layer = case.dense if case.dense and layer == 0 else case.layer
        found |= {f"blk.{layer}.{name}": shape for name, shape in of_layer.items()}
    return found


def write(
    path: Path, name: str, case: Case, *, types: Mapping[str, str] | None = None, words: int = 16, **more: Any
) -> Path:
    """Matrices are Q8_0, or as ``types`` has them by name; vectors F32. ``more``: tensors beside those of the case."""
    architecture = name.partition(" ")[0]
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in case.keys.items():
        writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_token_list([f"word {number}" for number in range(words)])
    for tensor, shape in {**tensors(case), **more}.items():
        kind = (types or {}).get(tensor, "Q8_0" if len(shape) > 1 and tensor.endswith(".weight") else "F32")
        _add(writer, tensor, shape, gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, name: str, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType) -> None:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    content = np.zeros((*shape[:-1], shape[-1] // block * size), np.uint8)
    writer.add_tensor(name, content, raw_shape=content.shape, raw_dtype=kind)
