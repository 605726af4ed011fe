"""Which layers has a Step decoder (3.5, 3.7): windows with heads of their own, a gate for each head, experts?

Checked against vLLM's step3p5.py. Configs call the same things by two names: see ``SAME``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from diag.planner.model.architecture import Architecture, Layer, Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config
from diag.planner.model.families.family import (
    PRE_NORMS,
    Family,
    assemble,
    cache,
    check,
    head_dim,
    model_prefix,
    window_of,
)
from diag.planner.model.families.sparse import FLOAT32, Sparse, sparse_block
from diag.planner.unknown import NotKnown

EXPERTS = Sparse(
    count="num_experts",
    block="moe",
    router_bytes=FLOAT32,
    correction="router_bias",
    shared="share_expert",
    shared_inner="share_expert_dim",
)
STEP = Family(architectures=("Step3p5ForCausalLM", "Step3p7FlashForCausalLM"), sparse=EXPERTS)
SAME = {
    "moe_num_experts": "num_experts",
    "moe_top_k": "num_experts_per_tok",
    "num_attention_groups": "num_key_value_heads",
    "max_seq_len": "max_position_embeddings",
}


def read_step(config: Config) -> Architecture:
    renamed = {SAME[key]: value for key, value in config.raw.items() if key in SAME}
    config = config.meaning(renamed)
    check(STEP, config)
    experts = (parts.mlp("mlp", config.count("hidden_size"), config.count("intermediate_size")), _experts(config))
    kinds: dict[tuple[bool, bool], tuple[Weight, ...]] = {}
    layers = []
    for layer in range(config.count("num_hidden_layers")):
        window, routed = window_of(config, layer), _is_routed(config, layer)
        shape = _shape(config, windowed=window > 0)
        kind = (window > 0, routed)
        kinds.setdefault(kind, (*_attention(config, shape), *experts[routed]))
        prefix = f"{model_prefix(config)}.layers.{layer}"
        layers.append(Layer(prefix=prefix, weights=kinds[kind], caches=(cache(shape, window),)))
    return assemble(config, STEP, layers)


def _attention(config: Config, shape: parts.Attention) -> tuple[Weight, ...]:
    gate = parts.linear("self_attn.g_proj", shape.heads, shape.hidden, shard="rows")
    return (
        *parts.attention(shape),
        *((gate,) if config.flag("use_head_wise_attn_gate") else ()),
        *(parts.norm(name, shape.hidden) for name in PRE_NORMS),
    )


def _shape(config: Config, *, windowed: bool) -> parts.Attention:
    """``attention_other_setting`` is the shape of the layers with a window, where they have one of their own."""
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    kv_heads, dim = config.count("num_key_value_heads"), head_dim(config, hidden, heads)
    if windowed and config.has("attention_other_setting"):
        other = config.sub("attention_other_setting")
        if other.text("attention_type") != "sliding_attention":
            raise other.bad("attention_type", "sliding_attention")
        heads, kv_heads = other.count("num_attention_heads"), other.count("num_attention_groups")
        dim = other.count("head_dim", dim)
    return parts.Attention(hidden=hidden, heads=heads, kv_heads=kv_heads, head_dim=dim, qk_norm="head")


def _experts(config: Config) -> tuple[Weight, ...]:
    if not config.flag("use_moe_router_bias"):
        raise NotKnown("use_moe_router_bias false: experts of Step without a bias of the router")
    return sparse_block(EXPERTS, config, config.count("hidden_size"))


def _is_routed(config: Config, layer: int) -> bool:
    """``moe_layers_enum`` names them, separated by commas; or all behind the dense ones; or all but the first."""
    named = config.get("moe_layers_enum")
    if named is None:
        return layer >= config.count("first_k_dense_replace", 1, least=0)
    return str(layer) in {one.strip() for one in str(named).split(",")}


READERS: Mapping[str, Callable[[Config], Architecture]] = {"step3p5": read_step, "step3p7": read_step}
