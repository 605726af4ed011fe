"""Which layers has a Kimi-Linear or Kimi-K3? Kimi delta attention (KDA), and every so often latent attention.

K3 adds to it a gate, a residual of attention over blocks of layers, experts in a latent space, and a vision tower.
Layers are counted from 1 in ``kda_layers`` and ``full_attn_layers``. Checked against vLLM's models/kimi_k3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from diag.planner.model.architecture import Architecture, Cache, Layer, Weight
from diag.planner.model.families import parts, sparse
from diag.planner.model.families.config import Config
from diag.planner.model.families.mla import latent_cache, mla, mla_weights
from diag.planner.model.families.moonvit import moonvit
from diag.planner.model.families.recurrent import Kda, kda_cache, kda_weights
from diag.planner.model.families.whole import Around, Names, whole
from diag.planner.unknown import NotKnown

EXPERT = ("w1", "w3", "w2")
LEAST_INNER = 256
"""Of an expert on one rank: vLLM pads a smaller part (``min_moe_intermediate_per_partition``)."""


def read_linear(config: Config) -> Architecture:
    return _read(config, Names())


def read_k3(config: Config) -> Architecture:
    text = config.sub("text_config")
    if text.text("model_type") != "kimi_linear":
        raise text.bad("model_type", "kimi_linear")
    names = Names(model="language_model.model", head="language_model.lm_head")
    return _read(text, names, moonvit(config.sub("vision_config"), text.count("hidden_size")))


def _read(config: Config, names: Names, first: tuple[Weight, ...] = ()) -> Architecture:
    experts = config.count("num_experts", 0, least=0)
    hidden = config.count("hidden_size")
    return whole(
        config,
        _layers(config, f"{names.model}.layers", routed=bool(experts)),
        names,
        Around(
            first=first,
            last=_residual(config, "output_attn", hidden, names.below("")),
            vision=bool(first),
            experts=experts,
            experts_per_token=config.count("num_experts_per_token") if experts else 0,
        ),
    )


def _layers(config: Config, prefix: str, *, routed: bool) -> Iterator[Layer]:
    """Layers of a kind share their weights."""
    hidden = config.count("hidden_size")
    delta, latent = _delta(config), mla(config, gate=config.flag("mla_use_output_gate"))
    mixers: Mapping[bool, tuple[Weight, ...]] = {True: kda_weights(delta), False: mla_weights(latent)}
    caches: Mapping[bool, Cache] = {True: kda_cache(delta), False: latent_cache(latent)}
    dense = parts.mlp("mlp", hidden, config.count("intermediate_size"))
    inner = {False: dense, True: _experts(config, hidden) if routed else ()}
    around = _around(config, hidden)
    weights = {(kda, sparse): (*mixers[kda], *inner[sparse], *around) for kda in mixers for sparse in inner}
    for layer, kda in enumerate(_recurrent(config)):
        kind = (kda, routed and _has_experts(config, layer))
        yield Layer(prefix=f"{prefix}.{layer}", weights=weights[kind], caches=(caches[kda],))


def _around(config: Config, hidden: int) -> tuple[Weight, ...]:
    return (
        parts.norm("input_layernorm", hidden),
        parts.norm("post_attention_layernorm", hidden),
        *_residual(config, "self_attention", hidden),
        *_residual(config, "mlp", hidden),
    )


def _recurrent(config: Config) -> tuple[bool, ...]:
    """Of each layer, from 0."""
    linear = config.sub("linear_attn_config")
    kda, full = set(linear.list("kda_layers")), set(linear.list("full_attn_layers"))
    count = config.count("num_hidden_layers")
    if kda & full or kda | full != set(range(1, count + 1)):
        raise NotKnown(f"kda_layers and full_attn_layers do not name each of {count} layers once")
    return tuple(layer + 1 in kda for layer in range(count))


def _delta(config: Config) -> Kda:
    linear = config.sub("linear_attn_config")
    return Kda(
        hidden=config.count("hidden_size"),
        heads=linear.count("num_heads"),
        head_dim=linear.count("head_dim"),
        width=linear.count("short_conv_kernel_size"),
        full_rank_gate=linear.flag("use_full_rank_gate"),
        bounded=linear.number("gate_lower_bound", 0.0) < 0,
    )


def _has_experts(config: Config, layer: int) -> bool:
    return sparse.after_the_dense(config, layer) and layer % config.count("moe_layer_freq", 1) == 0


def _experts(config: Config, hidden: int) -> tuple[Weight, ...]:
    name, count, inner = "block_sparse_moe", config.count("num_experts"), config.count("moe_intermediate_size")
    narrow = config.count("routed_expert_hidden_size", hidden)
    shared = config.count("num_shared_experts", 0, least=0)
    least = config.count("min_moe_intermediate_per_partition", LEAST_INNER)
    routed = parts.experts(f"{name}.experts", narrow, inner, count, names=EXPERT)
    return (
        parts.router(f"{name}.gate", count, hidden),
        parts.correction(f"{name}.gate.e_score_correction_bias", count),
        *(_latent(config, name, hidden, narrow) if config.has("routed_expert_hidden_size") else ()),
        *(msgspec.structs.replace(one, part_least=least) for one in routed),
        *(parts.mlp(f"{name}.shared_experts", hidden, inner * shared) if shared else ()),
    )


def _latent(config: Config, name: str, hidden: int, narrow: int) -> Iterator[Weight]:
    """On every rank, and never quantized in vLLM, which reads them as plain matrices."""
    yield parts.router(f"{name}.routed_expert_down_proj", narrow, hidden)
    if config.flag("latent_moe_use_norm"):
        yield parts.norm(f"{name}.routed_expert_norm", narrow)
    yield parts.router(f"{name}.routed_expert_up_proj", hidden, narrow)


def _residual(config: Config, name: str, hidden: int, below: str = "") -> tuple[Weight, ...]:
    """What weighs the residuals of blocks of ``attn_res_block_size`` layers."""
    if not config.has("attn_res_block_size"):
        return ()
    return (parts.norm(f"{below}{name}_res_norm", hidden), parts.router(f"{below}{name}_res_proj", 1, hidden))


READERS: Mapping[str, Callable[[Config], Architecture]] = {"kimi_linear": read_linear, "kimi_k3": read_k3}
