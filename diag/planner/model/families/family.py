"""What does a family fix that its configs do not say, and how do its layers become an Architecture?

Where a value is a tuple of config keys, one of them being true decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from diag.planner.model.architecture import Architecture, AttentionCache, Layer
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config
from diag.planner.model.families.sparse import Sparse
from diag.planner.model.families.whole import EVERY_STAGE, Around, Names, whole
from diag.planner.unknown import NotKnown

Said = bool | tuple[str, ...]
PRE_NORMS = ("input_layernorm", "post_attention_layernorm")
SANDWICH_NORMS = (*PRE_NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")
KINDS = ("full_attention", "sliding_attention")
BELOW: Mapping[str, str] = {
    "qwen2_vl": "model",
    "qwen2_5_vl": "model",
    "gemma3": "language_model.model",
    "llama4": "language_model.model",
    "mistral3": "language_model.model",
    "minimax_m3_vl": "language_model.model",
}
OTHER_ATTENTION = ("kv_lora_rank", "linear_num_key_heads", "mamba_d_state", "ssm_state_size", "layer_group_size")
"""Keys of attention that these families do not have: a config that says them is of another model."""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    architectures: tuple[str, ...]
    qkv_bias: Said = False
    o_bias: Said = False
    mlp_bias: Said = False
    qk_norm: parts.QkNorm = ""
    qk_norm_if: str = ""
    """Config key that says whether there is one; empty: there is."""
    norms: tuple[str, ...] = PRE_NORMS
    projections: tuple[str, str, str, str] = ("q_proj", "k_proj", "v_proj", "o_proj")
    mlp: tuple[str, ...] = parts.GATED
    sparse: Sparse | None = None
    defaults: Mapping[str, Any] = {}
    """What a config means by keys that it leaves out: the defaults of its class in transformers."""
    period: int = 0
    """Without ``layer_types`` and ``sliding_window_pattern``, every how many-th layer sees all tokens; 0: all alike."""
    every_stage: bool = False
    """vLLM's class builds embedding, last norm and head on every pipeline stage."""


def assemble(config: Config, family: Family, layers: Iterable[Layer]) -> Architecture:
    count = config.count(family.sparse.count, 0, least=0) if family.sparse else 0
    names = Names(model=model_prefix(config), every_stage=EVERY_STAGE if family.every_stage else ())
    around = Around(
        experts=count,
        experts_per_token=config.count(family.sparse.chosen) if family.sparse and count else 0,
        architecture=family.architectures[0],
    )
    return whole(config, layers, names, around)


def model_prefix(config: Config) -> str:
    """What the checkpoint calls the language model: below a wrapper it has a name of its own."""
    if config.outer is None:
        return "model"
    return BELOW.get(config.outer.text("model_type"), "model.language_model")


def shape_of(family: Family, config: Config) -> parts.Attention:
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    has_norm = family.qk_norm and (not family.qk_norm_if or config.flag(family.qk_norm_if))
    return parts.Attention(
        hidden=hidden,
        heads=heads,
        kv_heads=config.count("num_key_value_heads", heads),
        head_dim=head_dim(config, hidden, heads),
        qkv_bias=said(config, family.qkv_bias),
        o_bias=said(config, family.o_bias),
        qk_norm=family.qk_norm if has_norm else "",
        projections=family.projections,
    )


def cache(shape: parts.Attention, window: int) -> AttentionCache:
    return AttentionCache(
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        v_head_dim=shape.v_head_dim or shape.head_dim,
        window=window,
    )


def window_of(config: Config, layer: int, *, period: int = 0) -> int:
    """Tokens that a layer's sliding window sees; 0: all of them."""
    size = config.count("sliding_window", 0, least=0)
    if not size or not config.flag("use_sliding_window", True):
        return 0
    if config.has("layer_types"):
        return size if kind_of(config, layer, KINDS) == "sliding_attention" else 0
    if config.has("max_window_layers") and config.count("max_window_layers") < config.count("num_hidden_layers"):
        raise NotKnown("max_window_layers: engines differ in which layers it gives a sliding window")
    every = config.count("sliding_window_pattern", period, least=0)
    return 0 if every and (layer + 1) % every == 0 else size


def kind_of(config: Config, layer: int, known: tuple[str, ...]) -> str:
    """What ``layer_types`` calls a layer."""
    kinds = config.list("layer_types")
    if layer >= len(kinds) or kinds[layer] not in known:
        found = kinds[layer] if layer < len(kinds) else f"nothing for layer {layer}"
        raise NotKnown(f"{config.where}layer_types: found {found!r}, the planner knows {', '.join(known)} here")
    return str(kinds[layer])


def head_dim(config: Config, hidden: int, heads: int) -> int:
    if not config.has("head_dim") and hidden % heads:
        raise NotKnown(f"head_dim: hidden_size {hidden} is no multiple of {heads} heads")
    return config.count("head_dim", hidden // heads)


def said(config: Config, value: Said) -> bool:
    return value if isinstance(value, bool) else any(config.flag(key) for key in value)


def check(family: Family, config: Config) -> None:
    name = config.architecture(family.architectures[0])
    if config.outer is None and name not in family.architectures:
        known = ", ".join(family.architectures)
        raise NotKnown(f"architectures {name!r} of model_type {config.text('model_type')}: the planner knows {known}")
    for key in OTHER_ATTENTION:
        if config.get(key):
            raise NotKnown(f"{key} in a config of model_type {config.text('model_type')}: attention of another kind")
