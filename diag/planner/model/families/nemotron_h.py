"""Which layers has a Nemotron-H? Each is one block: Mamba 2, attention, an MLP without a gate, or routed experts.

``hybrid_override_pattern`` spells them with a letter each, ``layers_block_type`` with a word. Experts may work in a
latent space narrower than the model (``moe_latent_size``). Checked against vLLM's nemotron_h.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from diag.planner.model.architecture import Architecture, AttentionCache, Layer, Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import DTYPE_BYTES, Config
from diag.planner.model.families.family import head_dim
from diag.planner.model.families.recurrent import Mamba2, mamba2_cache, mamba2_weights
from diag.planner.model.families.whole import Around, Names, whole
from diag.planner.unknown import NotKnown

MLP = ("up_proj", "down_proj")
LETTERS: Mapping[str, str] = {"M": "mamba", "-": "mlp", "*": "attention", "E": "moe"}
NAMES = Names(model="backbone", embedding="embeddings", norm="norm_f", every_stage=("embedding", "norm", "head"))


def read(config: Config) -> Architecture:
    if config.has("block_configs"):
        raise NotKnown("block_configs: a Nemotron-H whose layers differ in shape is not known")
    kinds = block_kinds(config)
    made = {kind: BLOCKS[kind](config) for kind in dict.fromkeys(kinds)}
    has_experts = "moe" in made
    return whole(
        config,
        (made[kind](f"backbone.layers.{layer}") for layer, kind in enumerate(kinds)),
        NAMES,
        Around(
            rotary=(),
            experts=config.count("n_routed_experts") if has_experts else 0,
            experts_per_token=config.count("num_experts_per_tok") if has_experts else 0,
        ),
    )


def block_kinds(config: Config) -> tuple[str, ...]:
    if config.has("layers_block_type"):
        kinds = tuple(str(kind) for kind in config.list("layers_block_type"))
    else:
        kinds = tuple(LETTERS.get(letter, letter) for letter in config.text("hybrid_override_pattern"))
    unknown = next((kind for kind in kinds if kind not in BLOCKS), None)
    if unknown is not None or not kinds:
        raise NotKnown(f"a Nemotron-H layer of kind {unknown!r}: the planner knows {', '.join(BLOCKS)}")
    return kinds


Block = Callable[[str], Layer]


def _mamba(config: Config) -> Block:
    said = config.text("mamba_ssm_cache_dtype", "float32")
    if said not in DTYPE_BYTES:
        raise config.bad("mamba_ssm_cache_dtype", ", ".join(DTYPE_BYTES))
    shape = Mamba2(
        hidden=config.count("hidden_size"),
        heads=config.count("mamba_num_heads"),
        head_dim=config.count("mamba_head_dim"),
        groups=config.count("n_groups"),
        state=config.count("ssm_state_size"),
        width=config.count("conv_kernel"),
        bias=config.flag("use_bias"),
        conv_bias=config.flag("use_conv_bias", True),
        state_bytes=DTYPE_BYTES[said],
    )
    weights = (*mamba2_weights(shape), _norm(config))
    return lambda prefix: Layer(prefix=prefix, weights=weights, caches=(mamba2_cache(shape),))


def _attention(config: Config) -> Block:
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    width = config.count("attention_head_dim", head_dim(config, hidden, heads))
    shape = parts.Attention(
        hidden=hidden, heads=heads, kv_heads=config.count("num_key_value_heads"), head_dim=width, name="mixer"
    )
    cache = AttentionCache(
        kv_heads=shape.kv_heads, head_dim=width, v_head_dim=width, window=config.count("sliding_window", 0, least=0)
    )
    weights = (*parts.attention(shape), _norm(config))
    return lambda prefix: Layer(prefix=prefix, weights=weights, caches=(cache,))


def _mlp(config: Config) -> Block:
    hidden, inner = config.count("hidden_size"), config.count("intermediate_size")
    weights = (*parts.mlp("mixer", hidden, inner, bias=config.flag("mlp_bias"), names=MLP), _norm(config))
    return lambda prefix: Layer(prefix=prefix, weights=weights)


def _moe(config: Config) -> Block:
    hidden, count = config.count("hidden_size"), config.count("n_routed_experts")
    narrow = config.count("moe_latent_size", hidden)
    shared = config.count("n_shared_experts", 0, least=0)
    inner = shared * config.count("moe_shared_expert_intermediate_size") if shared else 0
    weights = (
        parts.router("mixer.gate", count, hidden),
        parts.correction("mixer.gate.e_score_correction_bias", count),
        *(_latent(config, hidden, narrow) if config.has("moe_latent_size") else ()),
        *parts.experts("mixer.experts", narrow, config.count("moe_intermediate_size"), count, names=MLP),
        *(parts.mlp("mixer.shared_experts", hidden, inner, names=MLP) if inner else ()),
        _norm(config),
    )
    return lambda prefix: Layer(prefix=prefix, weights=weights)


BLOCKS: Mapping[str, Callable[[Config], Block]] = {"mamba": _mamba, "mlp": _mlp, "attention": _attention, "moe": _moe}


def _latent(config: Config, hidden: int, narrow: int) -> tuple[Weight, Weight]:
    bias = config.flag("mlp_bias")
    return (
        parts.linear("mixer.fc1_latent_proj", narrow, hidden, bias=bias),
        parts.linear("mixer.fc2_latent_proj", hidden, narrow, bias=bias),
    )


def _norm(config: Config) -> Weight:
    return parts.norm("norm", config.count("hidden_size"))


READERS: Mapping[str, Callable[[Config], Architecture]] = {"nemotron_h": read}
