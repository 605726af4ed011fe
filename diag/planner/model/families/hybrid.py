"""Which decoders mix layers of attention with layers that keep a recurrent state?

Qwen3-Next, Qwen3.5 and Qwen3.6 here: three layers of gated delta net (GDN), then one of attention whose queries carry a
gate; dense or with routed experts, behind a vision tower or not. Nemotron-H and Kimi have files of their own. Checked
against vLLM's qwen3_next.py and qwen3_5.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import msgspec

from diag.planner.model.architecture import Architecture, AttentionCache, Cache, Layer, Weight
from diag.planner.model.families import parts, sparse
from diag.planner.model.families.config import DTYPE_BYTES, Config
from diag.planner.model.families.family import head_dim, kind_of
from diag.planner.model.families.recurrent import Gdn, gdn_cache, gdn_weights
from diag.planner.model.families.sparse import Sparse
from diag.planner.model.families.towers import qwen3_vl
from diag.planner.model.families.whole import Around, Names, whole
from diag.planner.unknown import NotKnown

KINDS = ("linear_attention", "full_attention")
EXPERTS = Sparse(
    count="num_experts",
    layers=sparse.by_step,
    shared="shared_expert",
    shared_inner="shared_expert_intermediate_size",
    shared_gate="shared_expert_gate",
)


Mixer = tuple[tuple[Weight, ...], Cache]


class Qwen(msgspec.Struct, frozen=True, kw_only=True):
    """``fused``: queries, keys, values and gate of a GDN are one matrix in the checkpoint."""

    fused: bool
    routed: bool
    architecture: str
    text_type: str
    """What a wrapper calls it in ``text_config``."""


NEXT = Qwen(fused=True, routed=True, architecture="Qwen3NextForCausalLM", text_type="qwen3_next")
DENSE = Qwen(fused=False, routed=False, architecture="Qwen3_5ForCausalLM", text_type="qwen3_5_text")
MOE = Qwen(fused=False, routed=True, architecture="Qwen3_5MoeForCausalLM", text_type="qwen3_5_moe_text")


def read(qwen: Qwen, config: Config) -> Architecture:
    return _read(qwen, config, Names(every_stage=("embedding",)))


def read_with_vision(qwen: Qwen, config: Config) -> Architecture:
    text = config.sub("text_config")
    kind = qwen.text_type
    if text.text("model_type", kind) != kind:
        raise text.bad("model_type", kind)
    names = Names(model="model.language_model", every_stage=("embedding",))
    return _read(qwen, text, names, qwen3_vl(config.sub("vision_config"), text.count("hidden_size")))


def _read(qwen: Qwen, config: Config, names: Names, first: tuple[Weight, ...] = ()) -> Architecture:
    if config.flag("layer_scale"):
        raise NotKnown("layer_scale: a Qwen3-Next with scaled layers is not known")
    experts = config.count("num_experts") if qwen.routed else 0
    return whole(
        config,
        _layers(qwen, config, f"{names.model}.layers"),
        names,
        Around(
            first=first,
            vision=bool(first),
            experts=experts,
            experts_per_token=config.count("num_experts_per_tok") if experts else 0,
            architecture=qwen.architecture,
        ),
    )


def _layers(qwen: Qwen, config: Config, prefix: str) -> Iterator[Layer]:
    """Layers of a kind share their weights."""
    hidden = config.count("hidden_size")
    mixers = {"linear_attention": _state(config, fused=qwen.fused), "full_attention": _attention(config)}
    norms = (parts.norm("input_layernorm", hidden), parts.norm("post_attention_layernorm", hidden))
    inner = _inner(qwen, config, hidden)
    weights = {
        (kind, routed): (*mixer_weights, *inner[routed], *norms)
        for kind, (mixer_weights, _) in mixers.items()
        for routed in inner
    }
    for layer in range(config.count("num_hidden_layers")):
        kind, routed = _kind(config, layer), qwen.routed and EXPERTS.layers(config, layer)
        yield Layer(prefix=f"{prefix}.{layer}", weights=weights[kind, routed], caches=(mixers[kind][1],))


def _inner(qwen: Qwen, config: Config, hidden: int) -> Mapping[bool, tuple[Weight, ...]]:
    """What follows the mixer, with routed experts and without."""
    routed = sparse.sparse_block(EXPERTS, config, hidden) if qwen.routed else ()
    inner = config.count("intermediate_size", 0, least=0)
    dense = parts.mlp("mlp", hidden, inner) if inner else ()
    if not dense and not (qwen.routed and all(EXPERTS.layers(config, one) for one in _every_layer(config))):
        raise config.bad("intermediate_size", "an integer of at least 1")
    return {True: routed, False: dense}


def _every_layer(config: Config) -> range:
    return range(config.count("num_hidden_layers"))


def _kind(config: Config, layer: int) -> str:
    if config.has("layer_types"):
        return kind_of(config, layer, KINDS)
    return KINDS[(layer + 1) % config.count("full_attention_interval") == 0]


def _attention(config: Config) -> Mixer:
    """The gate makes the queries twice as wide."""
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    shape = parts.Attention(
        hidden=hidden,
        heads=heads,
        kv_heads=config.count("num_key_value_heads"),
        head_dim=head_dim(config, hidden, heads),
        qk_norm="head",
    )
    queries, *others = parts.attention(shape)
    gated = msgspec.structs.replace(queries, rows=queries.rows * (1 + config.flag("attn_output_gate", True)))
    cache = AttentionCache(kv_heads=shape.kv_heads, head_dim=shape.head_dim, v_head_dim=shape.head_dim)
    return (gated, *others), cache


def _state(config: Config, *, fused: bool) -> Mixer:
    said = config.text("mamba_ssm_dtype", config.dtype())
    if said not in DTYPE_BYTES:
        raise config.bad("mamba_ssm_dtype", ", ".join(DTYPE_BYTES))
    shape = Gdn(
        hidden=config.count("hidden_size"),
        key_heads=config.count("linear_num_key_heads"),
        value_heads=config.count("linear_num_value_heads"),
        key_dim=config.count("linear_key_head_dim"),
        value_dim=config.count("linear_value_head_dim"),
        width=config.count("linear_conv_kernel_dim"),
        fused=fused,
        state_bytes=DTYPE_BYTES[said],
    )
    return gdn_weights(shape), gdn_cache(shape)


READERS: Mapping[str, Callable[[Config], Architecture]] = {
    **{qwen.text_type: partial(read, qwen) for qwen in (NEXT, DENSE, MOE)},
    "qwen3_5": partial(read_with_vision, DENSE),
    "qwen3_5_moe": partial(read_with_vision, MOE),
}
