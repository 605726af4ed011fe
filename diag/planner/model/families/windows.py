"""Which decoders have windows or chunks in some layers, and cannot be told by the table of ``decoder``?

gpt-oss, Llama 4, MiMo-V2. (Gemma 2 and 3 differ in the window alone and are in that table.) Checked against vLLM's
gpt_oss.py, llama4.py and mimo_v2.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from diag.planner.model.architecture import Architecture, AttentionCache, Layer, Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config
from diag.planner.model.families.family import (
    PRE_NORMS,
    Family,
    assemble,
    cache,
    check,
    model_prefix,
    shape_of,
    window_of,
)
from diag.planner.model.families.sparse import FLOAT32, Sparse, sparse_block

GPT_OSS = Family(
    architectures=("GptOssForCausalLM",),
    qkv_bias=True,
    o_bias=True,
    sparse=Sparse(count="num_local_experts"),
    period=2,
    every_stage=True,
)
LLAMA4 = Family(
    architectures=("Llama4ForCausalLM",),
    defaults={"no_rope_layer_interval": 4, "interleave_moe_layer_step": 1, "attention_chunk_size": 8192},
    sparse=Sparse(count="num_local_experts"),
)
MIMO_EXPERTS = Sparse(
    count="n_routed_experts",
    router_bytes=FLOAT32,
    correction="gate.e_score_correction_bias",
    shared="shared_experts",
    shared_count="n_shared_experts",
)
MIMO_V2 = Family(architectures=("MiMoV2FlashForCausalLM", "MiMoV2ForCausalLM"), sparse=MIMO_EXPERTS)


MXFP4_PART = 64
"""vLLM's MXFP4 kernels want it of what a rank holds of an expert's inner size (fused_moe/oracle/mxfp4.py)."""


def read_gpt_oss(config: Config) -> Architecture:
    """Biases everywhere, one sink for each head, experts in every layer."""
    check(GPT_OSS, config)
    shape, count = shape_of(GPT_OSS, config), config.count("num_local_experts")
    quantized = config.has("quantization_config") and config.sub("quantization_config").get("quant_method") == "mxfp4"
    part = MXFP4_PART if quantized else 1
    experts = parts.experts("mlp.experts", shape.hidden, config.count("intermediate_size"), count, bias=True)
    weights = (
        *_block(shape),
        parts.vector("self_attn.sinks", shape.heads, shard="rows"),
        parts.router("mlp.router", count, shape.hidden, bias=True),
        *(msgspec.structs.replace(one, part_multiple=part) for one in experts),
    )
    layers = range(config.count("num_hidden_layers"))
    caches = (cache(shape, window_of(config, layer, period=GPT_OSS.period)) for layer in layers)
    return assemble(config, GPT_OSS, [_layer(config, i, weights, one) for i, one in enumerate(caches)])


def read_llama4(config: Config) -> Architecture:
    """Layers with positions attend within a chunk, every fourth one has none and sees all tokens."""
    config = config.meaning(LLAMA4.defaults)
    check(LLAMA4, config)
    shape, step, inner = (
        shape_of(LLAMA4, config),
        config.count("interleave_moe_layer_step"),
        config.count("intermediate_size"),
    )
    dense = (*_block(shape), *parts.mlp("feed_forward", shape.hidden, config.count("intermediate_size_mlp", inner)))
    routed = (
        *_block(shape),
        parts.router("feed_forward.router", config.count("num_local_experts"), shape.hidden),
        *parts.experts("feed_forward.experts", shape.hidden, inner, config.count("num_local_experts")),
        *parts.mlp("feed_forward.shared_expert", shape.hidden, inner),
    )
    layers = range(config.count("num_hidden_layers"))
    kinds = (dense if (layer + 1) % step else routed for layer in layers)
    return assemble(
        config, LLAMA4, [_layer(config, i, weights, _chunked(config, shape, i)) for i, weights in enumerate(kinds)]
    )


def _chunked(config: Config, shape: parts.Attention, layer: int) -> AttentionCache:
    listed, interval = config.list("no_rope_layers", ()), config.count("no_rope_layer_interval")
    has_positions = listed[layer] != 0 if layer < len(listed) else (layer + 1) % interval != 0
    chunk = config.count("attention_chunk_size", 0, least=0) if has_positions else 0
    return AttentionCache(kv_heads=shape.kv_heads, head_dim=shape.head_dim, v_head_dim=shape.head_dim, chunk=chunk)


def read_mimo_v2(config: Config) -> Architecture:
    """``hybrid_layer_pattern`` 1: a window, other heads and a sink for each; ``moe_layer_freq`` 1: experts."""
    check(MIMO_V2, config)
    layers = config.count("num_hidden_layers")
    windowed = config.counts("hybrid_layer_pattern", length=layers)
    routed = config.counts("moe_layer_freq", length=layers)
    full, window = _mimo_shape(config, ""), _mimo_shape(config, "swa_")
    sinks = (parts.vector("self_attn.attention_sink_bias", window.heads, shard="rows"),)
    attention = (_block(full), (*_block(window), *(sinks if config.flag("add_swa_attention_sink_bias") else ())))
    mlp = parts.mlp("mlp", full.hidden, config.count("intermediate_size"))
    inner = (mlp, sparse_block(MIMO_EXPERTS, config, full.hidden))
    kinds = {(w, r): (*attention[w], *inner[r]) for w in (0, 1) for r in (0, 1)}
    caches = (cache(full, 0), cache(window, config.count("sliding_window_size", config.get("sliding_window"))))
    found = enumerate(zip(windowed, routed, strict=True))
    return assemble(config, MIMO_V2, [_layer(config, i, kinds[w, r], caches[w]) for i, (w, r) in found])


def _mimo_shape(config: Config, kind: str) -> parts.Attention:
    dim = config.count(f"{kind}head_dim")
    return parts.Attention(
        hidden=config.count("hidden_size"),
        heads=config.count(f"{kind}num_attention_heads"),
        kv_heads=config.count(f"{kind}num_key_value_heads"),
        head_dim=dim,
        v_head_dim=config.count(f"{kind}v_head_dim", dim),
        qkv_bias=config.flag("attention_bias"),
    )


def _block(shape: parts.Attention) -> tuple[Weight, ...]:
    return (*parts.attention(shape), *(parts.norm(name, shape.hidden) for name in PRE_NORMS))


def _layer(config: Config, layer: int, weights: tuple[Weight, ...], kept: AttentionCache) -> Layer:
    return Layer(prefix=f"{model_prefix(config)}.layers.{layer}", weights=weights, caches=(kept,))


READERS: Mapping[str, Callable[[Config], Architecture]] = {
    "gpt_oss": read_gpt_oss,
    "llama4_text": read_llama4,
    "mimo_v2_flash": read_mimo_v2,
    "mimo_v2": read_mimo_v2,
}
