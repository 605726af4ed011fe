"""Which weights has the vision tower of Kimi (MoonViT), and what joins it to the language model?

Divided by heads, or whole on every rank where the ranks do not divide its heads; the projector is on every rank.
Nothing is quantized: the lists of published checkpoints leave it alone, or vLLM does (_maybe_ignore_quant_config).
Source: vLLM's kimi_k25_vit.py. The keys with a default are those that K2.5 does not say and K3 does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from diag.planner.model.architecture import Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config

CHANNELS = 3
NORMS = {"layernorm": True, "rmsnorm": False}
"""Kind of norm -> whether it has a bias."""
PROJECTORS = ("patchmerger", "patchmergerv2")


class _Tower(msgspec.Struct, frozen=True, kw_only=True):
    hidden: int
    inner: int
    heads: int
    qkv: int
    norm_bias: bool
    attention_bias: bool
    mlp_bias: bool


def moonvit(config: Config, text_hidden: int) -> tuple[Weight, ...]:
    tower = _tower(config)
    blocks = config.count("vt_num_hidden_layers")
    weights = (
        *_patches(config, tower.hidden),
        *(one for block in range(blocks) for one in _block(f"vision_tower.encoder.blocks.{block}", tower)),
        _norm("vision_tower.encoder.final_layernorm", tower),
        *_projector(config, tower.hidden, text_hidden),
    )
    return tuple(msgspec.structs.replace(one, every_stage=True, linear=False) for one in weights)


def _tower(config: Config) -> _Tower:
    hidden = config.count("vt_hidden_size")
    return _Tower(
        hidden=hidden,
        inner=config.count("vt_intermediate_size"),
        heads=config.count("vt_num_attention_heads"),
        qkv=config.count("qkv_hidden_size", hidden),
        norm_bias=NORMS[_one_of(config, "norm_type", tuple(NORMS))],
        attention_bias=config.flag("attn_bias", True),
        mlp_bias=config.flag("linear_bias", True),
    )


def _patches(config: Config, hidden: int) -> Iterator[Weight]:
    _one_of(config, "pos_emb_type", ("divided_fixed",))
    pixels = CHANNELS * config.count("patch_size") ** 2
    bias = config.flag("patch_embed_proj_bias", True)
    places = config.count("init_pos_emb_height") * config.count("init_pos_emb_width")
    yield Weight(name="vision_tower.patch_embed.proj", rows=hidden, columns=pixels, bias=bias, linear=False)
    yield Weight(name="vision_tower.patch_embed.pos_emb", rows=places, columns=hidden, linear=False)


def _block(name: str, tower: _Tower) -> Iterator[Weight]:
    for norm in ("norm0", "norm1"):
        yield _norm(f"{name}.{norm}", tower)
    into = [("wqkv", tower.qkv, tower.attention_bias)] * 3 + [("mlp.fc0", tower.inner, tower.mlp_bias)]
    out = [("wo", tower.qkv, tower.attention_bias), ("mlp.fc1", tower.inner, tower.mlp_bias)]
    for matrix, width, bias in into:
        yield _divided(tower, parts.linear(f"{name}.{matrix}", width, tower.hidden, shard="rows", bias=bias))
    for matrix, width, bias in out:
        yield _divided(tower, parts.linear(f"{name}.{matrix}", tower.hidden, width, shard="columns", bias=bias))


def _projector(config: Config, hidden: int, text_hidden: int) -> Iterator[Weight]:
    kind = _one_of(config, "mm_projector_type", PROJECTORS)
    merged = hidden * math.prod(_merge(config))
    first = kind == PROJECTORS[0]
    if first:
        yield parts.norm("mm_projector.pre_norm", hidden, bias=True)
    yield parts.linear("mm_projector.proj.0", merged, merged, bias=first)
    yield parts.linear("mm_projector.proj.2", text_hidden, merged, bias=first)
    if not first:
        yield parts.norm("mm_projector.post_norm", text_hidden)


def _merge(config: Config) -> tuple[Any, ...]:
    sides = config.list("merge_kernel_size")
    if not all(isinstance(side, int) for side in sides):
        raise config.bad("merge_kernel_size", "two integers")
    return sides


def _divided(tower: _Tower, matrix: Weight) -> Weight:
    return msgspec.structs.replace(matrix, undivided_unless=tower.heads)


def _norm(name: str, tower: _Tower) -> Weight:
    return parts.norm(name, tower.hidden, bias=tower.norm_bias)


def _one_of(config: Config, key: str, known: tuple[str, ...]) -> str:
    """The first is what a config means that does not say it."""
    found = config.text(key, known[0])
    if found not in known:
        raise config.bad(key, " or ".join(known))
    return found
