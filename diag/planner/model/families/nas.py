"""Which layers has a decoder whose every block was searched for by itself (Nemotron-NAS, DeciLM)?

A block says how many heads share a key, how wide its MLP is, and which of both it lacks. Checked against vLLM's
nemotron_nas.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from diag.planner.model.architecture import Architecture, Cache, Layer, Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config
from diag.planner.model.families.family import PRE_NORMS, Family, assemble, cache, check, head_dim, model_prefix, said
from diag.planner.unknown import NotKnown

NAS = Family(
    architectures=("DeciLMForCausalLM",),
    qkv_bias=("attention_bias", "bias"),
    o_bias=("attention_bias", "bias"),
    mlp_bias=("mlp_bias",),
)
MULTIPLE = 256
"""The inner size is rounded up to this."""


def read_nas(config: Config) -> Architecture:
    check(NAS, config)
    blocks = config.list("block_configs")
    if len(blocks) != config.count("num_hidden_layers"):
        raise config.bad("block_configs", "one for each layer")
    found = [Config(block, where=f"block_configs[{layer}].", outer=config) for layer, block in enumerate(blocks)]
    return assemble(config, NAS, [_layer(config, layer, block) for layer, block in enumerate(found)])


def _layer(config: Config, layer: int, block: Config) -> Layer:
    shape = _shape(config, block.sub("attention"))
    weights = (*_attention(shape), *_mlp(config, block.sub("ffn")))
    caches: tuple[Cache, ...] = (cache(shape, 0),) if shape else ()
    return Layer(prefix=f"{model_prefix(config)}.layers.{layer}", weights=weights, caches=caches)


def _shape(config: Config, attention: Config) -> parts.Attention | None:
    """None: the block has no attention, so it keeps nothing."""
    _refuse(attention, "replace_with_linear", "window_length", "sparsify")
    if attention.flag("no_op"):
        return None
    hidden, heads = config.count("hidden_size"), config.count("num_attention_heads")
    return parts.Attention(
        hidden=hidden,
        heads=heads,
        kv_heads=heads // attention.count("n_heads_in_group"),
        head_dim=head_dim(config, hidden, heads),
        qkv_bias=said(config, NAS.qkv_bias),
        o_bias=said(config, NAS.o_bias),
    )


def _attention(shape: parts.Attention | None) -> tuple[Weight, ...]:
    return (*parts.attention(shape), parts.norm(PRE_NORMS[0], shape.hidden)) if shape else ()


def _mlp(config: Config, ffn: Config) -> Iterator[Weight]:
    _refuse(ffn, "replace_with_linear", "sparsify")
    if ffn.flag("no_op"):
        return
    hidden = config.count("hidden_size")
    inner = ffn.count("intermediate_size") if not ffn.has("ffn_mult") else _widened(ffn.number("ffn_mult"), hidden)
    yield from parts.mlp("mlp", hidden, inner, bias=said(config, NAS.mlp_bias))
    yield parts.norm(PRE_NORMS[1], hidden)


def _widened(times: float, hidden: int) -> int:
    inner = int(2 * times * hidden / 3)
    return -(-inner // MULTIPLE) * MULTIPLE


def _refuse(block: Config, *keys: str) -> None:
    for key in keys:
        if block.get(key):
            raise NotKnown(f"{block.where}{key}: {str(block.get(key))[:80]!r}")


READERS: Mapping[str, Callable[[Config], Architecture]] = {"nemotron-nas": read_nas}
