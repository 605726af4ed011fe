"""Which layers has Gemma 4: windows and full attention of other shapes, shared keys and values, experts beside the MLP?

Checked against vLLM's gemma4.py, defaults against transformers' configuration_gemma4.py. In layers that see all tokens
the values can be the keys again (``attention_k_eq_v``): the checkpoint has none, vLLM loads the keys twice. The last
``num_kv_shared_layers`` attend to the cache of an earlier layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from diag.planner.model.architecture import Architecture, Layer, Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config
from diag.planner.model.families.family import SANDWICH_NORMS, Family, assemble, cache, check, model_prefix, window_of
from diag.planner.model.families.sparse import Sparse

GEMMA4 = Family(
    architectures=("Gemma4ForCausalLM",),
    defaults={
        "tie_word_embeddings": True,
        "head_dim": 256,
        "global_head_dim": 512,
        "vocab_size": 262_144,
        "max_position_embeddings": 131_072,
        "sliding_window": 512,
        "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 262_144,
    },
    sparse=Sparse(count="num_experts", chosen="top_k_experts"),
    period=6,
    every_stage=True,
)
EXPERT_NORMS = ("post_feedforward_layernorm_1", "post_feedforward_layernorm_2", "pre_feedforward_layernorm_2")


class _Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Layers of one kind have the same weights."""

    windowed: bool
    shares: bool


def read_gemma4(config: Config) -> Architecture:
    config = config.meaning(GEMMA4.defaults)
    check(GEMMA4, config)
    count = config.count("num_hidden_layers")
    own = count - config.count("num_kv_shared_layers", 0, least=0)
    weights: dict[_Kind, tuple[Weight, ...]] = {}
    layers = []
    for layer in range(count):
        window = window_of(config, layer, period=GEMMA4.period)
        kind = _Kind(windowed=window > 0, shares=layer >= own)
        weights.setdefault(kind, tuple(_weights(config, kind)))
        kept = () if kind.shares else (cache(_shape(config, kind), window),)
        layers.append(Layer(prefix=f"{model_prefix(config)}.layers.{layer}", weights=weights[kind], caches=kept))
    whole = assemble(config, GEMMA4, layers)
    return msgspec.structs.replace(whole, first=(*whole.first, *_per_layer_inputs(config)))


def _shape(config: Config, kind: _Kind) -> parts.Attention:
    kv_heads = config.count("num_key_value_heads")
    if not kind.windowed and config.flag("attention_k_eq_v"):
        kv_heads = config.count("num_global_key_value_heads", kv_heads)
    return parts.Attention(
        hidden=config.count("hidden_size"),
        heads=config.count("num_attention_heads"),
        kv_heads=kv_heads,
        head_dim=config.count("head_dim" if kind.windowed else "global_head_dim"),
        qkv_bias=config.flag("attention_bias"),
        o_bias=config.flag("attention_bias"),
        qk_norm="head",
    )


def _weights(config: Config, kind: _Kind) -> Iterator[Weight]:
    hidden, own_input = config.count("hidden_size"), config.count("hidden_size_per_layer_input", 0, least=0)
    wide = 2 if kind.shares and config.flag("use_double_wide_mlp") else 1
    yield from _attention(config, kind)
    yield from (parts.norm(name, hidden) for name in SANDWICH_NORMS)
    yield from parts.mlp("mlp", hidden, wide * config.count("intermediate_size"))
    if config.flag("enable_moe_block"):
        yield from _experts(config, hidden)
    if own_input:
        yield parts.linear("per_layer_input_gate", own_input, hidden)
        yield parts.linear("per_layer_projection", hidden, own_input)
        yield parts.norm("post_per_layer_input_norm", hidden)


def _attention(config: Config, kind: _Kind) -> Iterator[Weight]:
    keys_are_values = not kind.windowed and config.flag("attention_k_eq_v")
    shared = ("self_attn.k_proj", "self_attn.v_proj", "self_attn.k_norm") if kind.shares else ()
    for weight in parts.attention(_shape(config, kind)):
        if weight.name not in shared:
            made = keys_are_values and weight.name == "self_attn.v_proj"
            yield msgspec.structs.replace(weight, stored=not made)


def _experts(config: Config, hidden: int) -> Iterator[Weight]:
    count = config.count("num_experts")
    inner = config.count("moe_intermediate_size", config.get("expert_intermediate_size"))
    yield parts.router("router.proj", count, hidden)
    yield parts.vector("router.scale", hidden)
    yield parts.vector("router.per_expert_scale", count)
    yield from parts.experts("experts", hidden, inner, count)
    yield from (parts.norm(name, hidden) for name in EXPERT_NORMS)


def _per_layer_inputs(config: Config) -> Iterator[Weight]:
    """A second embedding with a part for each layer, and what mixes it with the first."""
    own_input = config.count("hidden_size_per_layer_input", 0, least=0)
    if own_input:
        every = own_input * config.count("num_hidden_layers")
        name = model_prefix(config)
        hidden, vocab = config.count("hidden_size"), config.count("vocab_size_per_layer_input")
        yield parts.embedding(f"{name}.embed_tokens_per_layer", vocab, every, every_stage=True)
        mixes = parts.linear(f"{name}.per_layer_model_projection", every, hidden, shard="rows")
        yield msgspec.structs.replace(mixes, every_stage=True)
        yield msgspec.structs.replace(parts.norm(f"{name}.per_layer_projection_norm", own_input), every_stage=True)


READERS: Mapping[str, Callable[[Config], Architecture]] = {"gemma4_text": read_gemma4}
