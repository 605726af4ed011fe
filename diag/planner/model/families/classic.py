"""Which layers have decoders of the years before gated MLPs: Falcon and OPT?

Norms with biases, an MLP of two matrices. Checked against vLLM's falcon.py and opt.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from diag.planner.model.architecture import Architecture, Layer, Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config
from diag.planner.model.families.family import cache
from diag.planner.model.families.whole import EVERY_STAGE, Around, Names, whole
from diag.planner.unknown import NotKnown

FALCON = {
    "vocab_size": 65024,
    "new_decoder_architecture": False,
    "multi_query": True,
    "parallel_attn": True,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
}
FALCON_SAME = {"n_layer": "num_hidden_layers", "n_head": "num_attention_heads", "n_head_kv": "num_kv_heads"}
FALCON_QKV = ("query_key_value", "query_key_value", "query_key_value", "dense")
WIDER = 4
"""Falcon's inner size is this many times the hidden one, where the config does not say."""
OPT = {
    "enable_bias": True,
    "do_layer_norm_before": True,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "layer_norm_elementwise_affine": True,
}
OPT_OFFSET = 2
"""Positions that OPT's table begins with and no token has."""


def read_falcon(config: Config) -> Architecture:
    renamed = {FALCON_SAME[key]: value for key, value in config.raw.items() if key in FALCON_SAME}
    config = config.meaning({**FALCON, **renamed})
    _check(config, "FalconForCausalLM", "RWForCausalLM")
    hidden, bias = config.count("hidden_size"), config.flag("bias")
    shape = _falcon_shape(config, hidden)
    weights = (
        *parts.attention(shape),
        *parts.mlp(
            "mlp",
            hidden,
            config.count("ffn_hidden_size", WIDER * hidden),
            bias=bias,
            names=("dense_h_to_4h", "dense_4h_to_h"),
        ),
        *(parts.norm(name, hidden, bias=True) for name in _falcon_norms(config)),
    )
    layers = [
        Layer(prefix=f"transformer.h.{layer}", weights=weights, caches=(cache(shape, 0),))
        for layer in range(config.count("num_hidden_layers"))
    ]
    names = Names(
        model="transformer", embedding="word_embeddings", norm="ln_f", norm_bias=True, every_stage=EVERY_STAGE
    )
    turns = None if not config.flag("alibi") else ()
    return whole(config, layers, names, Around(rotary=turns, architecture="FalconForCausalLM"))


def _falcon_shape(config: Config, hidden: int) -> parts.Attention:
    heads = config.count("num_attention_heads")
    kv_heads = 1 if config.flag("multi_query") else heads
    if config.flag("new_decoder_architecture"):
        kv_heads = config.count("num_kv_heads", heads)
    if hidden % heads:
        raise NotKnown(f"hidden_size {hidden} is no multiple of {heads} heads")
    return parts.Attention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=hidden // heads,
        qkv_bias=config.flag("bias"),
        o_bias=config.flag("bias"),
        name="self_attention",
        projections=FALCON_QKV,
    )


def _falcon_norms(config: Config) -> tuple[str, ...]:
    if not config.flag("parallel_attn"):
        return ("input_layernorm", "post_attention_layernorm")
    two = config.count("num_ln_in_parallel_attn", 2 if config.flag("new_decoder_architecture") else 1) == 2  # noqa: PLR2004 - two
    return ("ln_attn", "ln_mlp") if two else ("input_layernorm",)


def read_opt(config: Config) -> Architecture:
    config = config.meaning(OPT)
    _check(config, "OPTForCausalLM")
    if not config.flag("do_layer_norm_before") or not config.flag("layer_norm_elementwise_affine"):
        raise NotKnown("do_layer_norm_before or layer_norm_elementwise_affine false: OPT of another kind (350m)")
    hidden, heads, bias = config.count("hidden_size"), config.count("num_attention_heads"), config.flag("enable_bias")
    if config.count("word_embed_proj_dim", hidden) != hidden:
        raise NotKnown("word_embed_proj_dim: OPT with embeddings of another width (350m)")
    shape = parts.Attention(
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        qkv_bias=bias,
        o_bias=bias,
        projections=("q_proj", "k_proj", "v_proj", "out_proj"),
    )
    weights = (*parts.attention(shape), *_fc(hidden, config.count("ffn_dim"), bias=bias), *_opt_norms(hidden))
    layers = [
        Layer(prefix=f"model.decoder.layers.{layer}", weights=weights, caches=(cache(shape, 0),))
        for layer in range(config.count("num_hidden_layers"))
    ]
    names = Names(model="model.decoder", norm="final_layer_norm", norm_bias=True, every_stage=EVERY_STAGE)
    positions = Weight(
        name="model.decoder.embed_positions",
        rows=config.count("max_position_embeddings") + OPT_OFFSET,
        columns=hidden,
        linear=False,
        every_stage=True,
    )
    return whole(config, layers, names, Around(first=(positions,), rotary=(), architecture="OPTForCausalLM"))


def _fc(hidden: int, inner: int, *, bias: bool) -> tuple[Weight, ...]:
    """Their names stand in the layer itself."""
    both = parts.mlp("", hidden, inner, bias=bias, names=("fc1", "fc2"))
    return tuple(msgspec.structs.replace(one, name=one.name.removeprefix(".")) for one in both)


def _opt_norms(hidden: int) -> tuple[Weight, ...]:
    return tuple(parts.norm(name, hidden, bias=True) for name in ("self_attn_layer_norm", "final_layer_norm"))


def _check(config: Config, *known: str) -> None:
    if config.architecture(known[0]) not in known:
        raise config.bad("architectures", " or ".join(known))


READERS: Mapping[str, Callable[[Config], Architecture]] = {
    "falcon": read_falcon,
    "RefinedWeb": read_falcon,
    "RefinedWebModel": read_falcon,
    "opt": read_opt,
}
