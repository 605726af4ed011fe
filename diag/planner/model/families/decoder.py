"""Which decoders have the same attention in every layer, dense or with routed experts?

Checked against vLLM's model classes (model_executor/models).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from diag.planner.model.architecture import Architecture, Layer, Weight
from diag.planner.model.families import parts, sparse
from diag.planner.model.families.config import Config
from diag.planner.model.families.family import (
    PRE_NORMS,
    SANDWICH_NORMS,
    Family,
    assemble,
    cache,
    check,
    model_prefix,
    said,
    shape_of,
    window_of,
)
from diag.planner.model.families.sparse import FLOAT32, Sparse

UNLESS_SAID = {"use_sliding_window": False}
"""Qwen's configs name a ``sliding_window`` that is not used."""
GEMMA = {"tie_word_embeddings": True, "head_dim": 256}
GEMMA2 = {**GEMMA, "vocab_size": 256_000, "max_position_embeddings": 8192, "sliding_window": 4096}
GEMMA3 = {
    **GEMMA,
    "vocab_size": 262_208,
    "max_position_embeddings": 131_072,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "sliding_window": 4096,
}
LLAMA = Family(
    architectures=("LlamaForCausalLM", "LLaMAForCausalLM", "InternLM3ForCausalLM"),
    qkv_bias=("attention_bias", "bias", "qkv_bias"),
    o_bias=("attention_bias", "bias"),
    mlp_bias=("mlp_bias",),
)
QWEN2 = Family(
    architectures=("Qwen2ForCausalLM", "Qwen2ForSequenceClassification"), qkv_bias=True, defaults=UNLESS_SAID
)
QWEN3 = Family(
    architectures=("Qwen3ForCausalLM", "Qwen3ForSequenceClassification"),
    qkv_bias=("attention_bias",),
    qk_norm="head",
    defaults=UNLESS_SAID,
)
QWEN3_MOE = Family(
    architectures=("Qwen3MoeForCausalLM",),
    qkv_bias=("attention_bias",),
    qk_norm="head",
    defaults=UNLESS_SAID,
    sparse=Sparse(count="num_experts", layers=sparse.by_step),
    every_stage=True,
)
FAMILIES: Mapping[str, Family] = {
    "llama": LLAMA,
    "internlm3": LLAMA,
    "mistral": Family(architectures=("MistralForCausalLM",)),
    "ministral3": Family(architectures=("Ministral3ForCausalLM", "MistralForCausalLM")),
    "granite": Family(
        architectures=("GraniteForCausalLM",),
        qkv_bias=("attention_bias",),
        o_bias=("attention_bias",),
        mlp_bias=("mlp_bias",),
    ),
    "seed_oss": Family(
        architectures=("SeedOssForCausalLM",),
        qkv_bias=("attention_bias",),
        o_bias=("attention_out_bias",),
        mlp_bias=("mlp_bias",),
        defaults={"attention_bias": True},
    ),
    "smollm3": Family(
        architectures=("SmolLM3ForCausalLM",),
        qkv_bias=("attention_bias",),
        o_bias=("attention_bias",),
        mlp_bias=("mlp_bias",),
        defaults={"tie_word_embeddings": True, "use_sliding_window": False},
    ),
    "ernie4_5": Family(
        architectures=("Ernie4_5ForCausalLM",),
        qkv_bias=("use_bias",),
        o_bias=("use_bias",),
        mlp_bias=("use_bias",),
        defaults={"tie_word_embeddings": True},
    ),
    "internlm2": Family(
        architectures=("InternLM2ForCausalLM",),
        projections=("wqkv", "wqkv", "wqkv", "wo"),
        mlp=("w1", "w3", "w2"),
        norms=("attention_norm", "ffn_norm"),
    ),
    "glm": Family(
        architectures=("GlmForCausalLM",),
        qkv_bias=("attention_bias",),
        mlp=("gate_up_proj", "gate_up_proj", "down_proj"),
    ),
    "phi3": Family(
        architectures=("Phi3ForCausalLM",),
        projections=("qkv_proj", "qkv_proj", "qkv_proj", "o_proj"),
        mlp=("gate_up_proj", "gate_up_proj", "down_proj"),
    ),
    "qwen2": QWEN2,
    "qwen2_vl_text": QWEN2,
    "qwen2_5_vl_text": QWEN2,
    "mimo": Family(architectures=("MiMoForCausalLM",), qkv_bias=True, defaults=UNLESS_SAID),
    "qwen3": QWEN3,
    "qwen3_vl_text": QWEN3,
    "glm4": Family(
        architectures=("Glm4ForCausalLM",),
        qkv_bias=("attention_bias",),
        mlp=("gate_up_proj", "gate_up_proj", "down_proj"),
        norms=(*PRE_NORMS, "post_self_attn_layernorm", "post_mlp_layernorm"),
    ),
    "gemma": Family(
        architectures=("GemmaForCausalLM",), qkv_bias=("attention_bias",), defaults=GEMMA, every_stage=True
    ),
    "gemma2": Family(
        architectures=("Gemma2ForCausalLM",),
        qkv_bias=("attention_bias",),
        o_bias=("attention_bias",),
        norms=SANDWICH_NORMS,
        defaults=GEMMA2,
        period=2,
        every_stage=True,
    ),
    "gemma3_text": Family(
        architectures=("Gemma3ForCausalLM",),
        qkv_bias=("attention_bias",),
        o_bias=("attention_bias",),
        qk_norm="head",
        norms=SANDWICH_NORMS,
        defaults=GEMMA3,
        period=6,
        every_stage=True,
    ),
    "mixtral": Family(
        architectures=("MixtralForCausalLM",),
        sparse=Sparse(
            count="num_local_experts", inner="intermediate_size", block="block_sparse_moe", experts=("w1", "w3", "w2")
        ),
        every_stage=True,
    ),
    "qwen2_moe": Family(
        architectures=("Qwen2MoeForCausalLM",),
        qkv_bias=True,
        defaults=UNLESS_SAID,
        sparse=Sparse(
            count="num_experts",
            layers=sparse.by_step,
            shared="shared_expert",
            shared_inner="shared_expert_intermediate_size",
            shared_gate="shared_expert_gate",
        ),
        every_stage=True,
    ),
    "qwen3_moe": QWEN3_MOE,
    "qwen3_vl_moe_text": QWEN3_MOE,
    "minimax_m2": Family(
        architectures=("MiniMaxM2ForCausalLM",),
        qkv_bias=("attention_bias",),
        qk_norm="width",
        sparse=Sparse(
            count="num_local_experts",
            inner="intermediate_size",
            block="block_sparse_moe",
            experts=("w1", "w3", "w2"),
            router_bytes=FLOAT32,
            correction="e_score_correction_bias",
            correction_if="use_routing_bias",
        ),
    ),
    "glm4_moe": Family(
        architectures=("Glm4MoeForCausalLM",),
        qkv_bias=("attention_bias",),
        qk_norm="head",
        qk_norm_if="use_qk_norm",
        sparse=Sparse(
            count="n_routed_experts",
            layers=sparse.after_the_dense,
            router_bytes=FLOAT32,
            correction="gate.e_score_correction_bias",
            shared="shared_experts",
            shared_count="n_shared_experts",
        ),
    ),
}


def read(family: Family, config: Config) -> Architecture:
    config = config.meaning(family.defaults)
    check(family, config)
    layers = config.count("num_hidden_layers")
    shape = shape_of(family, config)
    block = (*parts.attention(shape), *(parts.norm(name, shape.hidden) for name in family.norms))
    has_experts = [family.sparse is not None and family.sparse.layers(config, layer) for layer in range(layers)]
    dense = (*block, *_mlp(family, config, shape.hidden)) if not all(has_experts) else ()
    routed = (*block, *sparse.sparse_block(family.sparse, config, shape.hidden)) if family.sparse else ()
    return assemble(
        config,
        family,
        [
            Layer(
                prefix=f"{model_prefix(config)}.layers.{layer}",
                weights=routed if has_experts[layer] else dense,
                caches=(cache(shape, window_of(config, layer, period=family.period)),),
            )
            for layer in range(layers)
        ],
    )


def _mlp(family: Family, config: Config, hidden: int) -> tuple[Weight, ...]:
    bias = said(config, family.mlp_bias)
    return parts.mlp("mlp", hidden, config.count("intermediate_size"), bias=bias, names=family.mlp)


READERS: Mapping[str, Callable[[Config], Architecture]] = {
    model_type: partial(read, family) for model_type, family in FAMILIES.items()
}
