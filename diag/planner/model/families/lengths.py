"""How many tokens of context does a model promise?

The smallest of the keys that say so, times the factor of a linear or dynamic rope scaling. YaRN's factor counts from
the length before it; configs differ in whether ``max_position_embeddings`` holds the scaled one, so the longer of both.
Source: vLLM's config/model.py (_get_and_verify_max_len) and transformers' modeling_rope_utils.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from diag.planner.model.families.config import Config
from diag.planner.unknown import NotKnown

KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "max_seq_length")
UNSCALED = ("default", "su", "longrope", "llama3", "mrope", "proportional", "deepseek_llama_scaling")
"""Types whose config already holds the length after scaling, or that do not scale it."""
YARN = ("yarn", "deepseek_yarn")
SCALED = ("linear", "dynamic", "ntk")
"""Engines refuse what is none of these three lists (vLLM's get_rope)."""


def longest_context(config: Config, default: int | None = None) -> int:
    lengths = [config.count(key) for key in KEYS if config.has(key)]
    if config.has("model_max_length"):
        return config.count("model_max_length")
    if not lengths:
        return config.count(KEYS[0], default)
    return max((_scaled(min(lengths), rope) for rope in _ropes(config)), default=min(lengths))


def _ropes(config: Config) -> Iterator[Mapping[str, Any]]:
    """One mapping, or one for each type of layer."""
    for key in ("rope_parameters", "rope_scaling"):
        found = config.get(key)
        if isinstance(found, Mapping):
            yield from (one for one in found.values() if isinstance(one, Mapping))
            yield found


def _scaled(length: int, rope: Mapping[str, Any]) -> int:
    kind, factor = kind_of(rope), factor_of(rope)
    if kind in UNSCALED or factor is None:
        return length
    if kind in YARN:
        before = rope.get("original_max_position_embeddings")
        return max(length, int(before * factor)) if isinstance(before, int) else length
    return int(length * factor)


def kind_of(rope: Mapping[str, Any]) -> str:
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if not isinstance(kind, str):
        raise NotKnown(f"rope_type in config.json: found {str(kind)[:80]!r}, expected a text")
    if kind not in (*UNSCALED, *YARN, *SCALED):
        known = ", ".join((*UNSCALED, *YARN, *SCALED))
        raise NotKnown(f"rope_type {kind!r} in config.json: the planner knows {known}")
    return kind


def factor_of(rope: Mapping[str, Any]) -> float | None:
    """By which lengths are scaled; None: it says nothing of it."""
    factor = rope.get("factor")
    if factor is None:
        return None
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor < math.inf:
        found = str(factor)[:80]
        raise NotKnown(f"factor of the rope scaling in config.json: found {found!r}, expected a number above 0")
    return factor
