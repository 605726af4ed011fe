"""Which tables of cosines and sines do engines make for a model's positions, one row for each that it promises?

Layers that turn alike share a table. YaRN's has the rows before it times its factor, long rope's those of both lengths,
those of positions in three directions (images, videos) four times as many. Source: vLLM's
model_executor/layers/rotary_embedding (base.py, yarn_scaling_rope.py, mrope.py, phi3_long_rope_scaled_rope.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from diag.planner.model.architecture import AttentionCache, Cache, LatentCache, Layer, RotaryTable
from diag.planner.model.families.config import Config
from diag.planner.model.families.lengths import YARN, factor_of, kind_of, longest_context

IN_THREE_DIRECTIONS = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_omni", "glm4v")
"""Families of models whose classes number positions so where the config does not say it."""
MORE_ROWS = 4
PARTS: Mapping[str, float] = {"qwen3_next": 0.25, "qwen3_5": 0.25, "glm4": 0.5}
"""Of a head's elements that turn, where the config does not say it; by the start of ``model_type``."""
OF_A_TYPE_OF_LAYER = ("full_attention", "sliding_attention")


def tables(text: Config, layers: Iterable[Layer]) -> tuple[RotaryTable, ...]:
    """Of a language model; none where no layer turns."""
    caches = {cache for layer in layers for cache in layer.caches}
    kinds = {(_rope(text, cache), _dim(text, cache)) for cache in caches}
    found = [RotaryTable(positions=_positions(text, _rope_of(text, rope)), dim=dim) for rope, dim in kinds if dim]
    return tuple(sorted(found, key=lambda one: (one.positions, one.dim)))


def _rope(text: Config, cache: Cache) -> str:
    """What tells the turning of one kind of layer from that of another."""
    ropes = text.get("rope_parameters")
    of_types = isinstance(ropes, Mapping) and any(kind in ropes for kind in OF_A_TYPE_OF_LAYER)
    apart = of_types or text.has("rope_local_base_freq") or text.has("swa_rope_theta")
    windowed = isinstance(cache, AttentionCache) and bool(cache.window)
    return OF_A_TYPE_OF_LAYER[windowed] if apart else ""


def _rope_of(text: Config, kind: str) -> Mapping[str, Any]:
    found = text.get("rope_parameters") or text.get("rope_scaling") or {}
    if not isinstance(found, Mapping):
        return {}
    inner = found.get(kind)
    return inner if isinstance(inner, Mapping) else found


def _dim(text: Config, cache: Cache) -> int:
    if isinstance(cache, LatentCache):
        return 0 if text.get("mla_use_nope") is True else cache.rope_dim
    if not isinstance(cache, AttentionCache):
        return 0
    if text.has("rotary_dim"):
        return text.count("rotary_dim")
    return int(cache.head_dim * _part(text, _rope_of(text, _rope(text, cache))))


def _part(text: Config, rope: Mapping[str, Any]) -> float:
    said = rope.get("partial_rotary_factor", text.get("partial_rotary_factor"))
    if isinstance(said, (int, float)) and 0 < said <= 1 and rope.get("rope_type") != "proportional":
        return float(said)
    name = _model_type(text)
    return next((part for start, part in PARTS.items() if name.startswith(start)), 1.0) if said is None else 1.0


def _positions(text: Config, rope: Mapping[str, Any]) -> int:
    kind, before = kind_of(rope), rope.get("original_max_position_embeddings")
    factor, rows = factor_of(rope), text.count("max_position_embeddings", longest_context(text))
    if kind in YARN and isinstance(before, int) and factor is not None:
        rows = int(before * factor)
    elif kind in {"linear", "dynamic"}:
        rows = longest_context(text)
    elif kind in {"longrope", "su"} and isinstance(before, int):
        rows += before
    turned = "mrope_section" in rope or _model_type(text).startswith(IN_THREE_DIRECTIONS)
    return rows * MORE_ROWS if turned else rows


def _model_type(text: Config) -> str:
    return str(text.get("model_type") or (text.outer.get("model_type") if text.outer else ""))
