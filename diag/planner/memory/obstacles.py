"""What goes wrong first when an engine starts so, in the order in which it meets it?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from diag.planner.memory.attempt import Start
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.same import Same
from diag.planner.memory.shares import Room, Taken, terms_inside
from diag.planner.memory.terms import Terms
from diag.planner.memory.weighed import Level
from diag.planner.model.architecture import Architecture, StateCache
from diag.units import size

Limit = Literal["weights", "kv", "activation", "graphs", "non_torch", "held", "context"]
LOADING: dict[Level, float] = {"low": 1, "mid": 1.005, "high": 1.04}
"""Of what loading holds at once; holes and copies of single layers beside: more than 1.028 in a log of vLLM 0.13."""

TERMS = ("activation", "graphs", "non_torch", "fragmentation", "kept")
SINGULAR = ("activation", "memory of others")


class Obstacle(msgspec.Struct, frozen=True, kw_only=True):
    """``limit``: the dominating term; ``why``: one clause. ``lacks_kv``: the KV cache is too small, all else goes."""

    limit: Limit
    why: str
    lacks_kv: bool = False


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    weights: int
    terms: Terms
    taken: dict[Level, Taken]
    rooms: dict[Level, Room]


def kv_bytes(start: Start, stage: Stage, level: Level) -> int:
    return stage.rooms[level].kv if start.measured.kv is None else start.measured.kv


def first_obstacle(start: Start, stages: Sequence[Stage], kv: Paged, level: Level) -> Obstacle | None:
    """The first thing that goes wrong, in the order in which an engine meets it; None: nothing."""
    for one in stages:
        found = _no_loading(start, one, level) or _no_start(start, one, level) or _no_kv(start, one, level)
        if found:
            return found
    if not kv.starts:
        return Obstacle(limit="kv", why=too_little(start, stages, kv), lacks_kv=True)
    if _lacks_states(start, kv):
        why = f"{start.batch.max_num_seqs} sequences need a block for their states each, {kv.blocks} are there"
        return Obstacle(limit="kv", why=why, lacks_kv=True)
    return next((found for one in stages if (found := _no_room(one, level))), None)


def too_little(start: Start, stages: Sequence[Stage], kv: Paged) -> str:
    """What the requests need that have to fit, and from what to what is left."""
    left = [max(0, min(kv_bytes(start, one, level) for one in stages)) for level in ("high", "low")]
    return f"{_needs(start, kv)}, {spread(*left)} are left"


def spread(least: int, most: int) -> str:
    """``5.4–6.4 GiB``."""
    low, high = size(least), size(most)
    if low == high:
        return low
    if not least:
        return f"at most {high}"
    (number, unit), (_, other) = low.split(), high.split()
    return f"{number}–{high}" if unit == other else f"{low} to {high}"


def _needs(start: Start, kv: Paged) -> str:
    """Some engines take the memory of all requests at the start."""
    count = start.batch.max_num_seqs if start.rules.by_layers else 1
    several = "one request" if count == 1 else f"{count} requests"
    verb = "needs" if count == 1 else "need"
    return f"{several} of {start.max_model_len} tokens {verb} {size(kv.request_bytes * count)}"


def _lacks_states(start: Start, kv: Paged) -> bool:
    """Of graphs of whole decode batches: eager mode does not ask."""
    if not start.rules.state_each_sequence or start.batch.enforce_eager or start.batch.max_num_seqs <= kv.blocks:
        return False
    return _has_states(Same(start.architecture))


def _no_loading(start: Start, stage: Stage, level: Level) -> Obstacle | None:
    needs = int(start.loading_bytes * LOADING[level])
    free = start.device.free_bytes - stage.taken[level].context
    if not needs or needs <= free:
        return None
    why = f"loading takes {size(needs)} before they are quantized, {size(max(0, free))} are free"
    return Obstacle(limit="weights", why=why)


def _no_start(start: Start, stage: Stage, level: Level) -> Obstacle | None:
    found, taken = stage.rooms[level], stage.taken[level]
    if found.starts:
        return None
    limit: Limit = "held" if start.device.held_bytes > taken.context else "context"
    why = f"needs {size(found.needed_free)} free at the start, {size(max(0, found.free))} are"
    return Obstacle(limit=limit, why=why)


def _no_kv(start: Start, stage: Stage, level: Level) -> Obstacle | None:
    """Names the terms, the largest first, that cross the budget together."""
    if kv_bytes(start, stage, level) > 0:
        return None
    parts = sorted(_inside(start, stage, level), key=lambda part: part.size, reverse=True)
    budget, named, taken = max(0, stage.rooms[level].budget), list[str](), 0
    for part in parts:
        if part.size and (not named or taken < budget):
            named.append(f"{part.words} of {size(part.size)}")
            taken += part.size
    told = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
    verb = "leaves" if len(named) == 1 and parts[0].words in SINGULAR else "leave"
    return Obstacle(limit=parts[0].limit, why=f"{told} {verb} no KV cache in {size(budget)}", lacks_kv=True)


class _Part(msgspec.Struct, frozen=True):
    limit: Limit
    words: str
    size: int


def _inside(start: Start, stage: Stage, level: Level) -> tuple[_Part, ...]:
    """All that shares the budget with the KV cache."""
    taken, terms = stage.taken[level], stage.terms
    names = terms_inside(start)
    sizes = {name: int(getattr(getattr(terms, name), level)) if name in names else 0 for name in TERMS}
    shared = "context" in names and start.rules.fraction_of == "total"
    beside = taken.context if shared else 0
    return (
        _Part("weights", "weights", taken.weights),
        _Part("activation", "activation", sizes["activation"] + sizes["kept"]),
        _Part("graphs", "CUDA graphs", sizes["graphs"]),
        _Part("non_torch", "libraries", sizes["non_torch"] + sizes["fragmentation"] + beside),
        _Part("held", "memory of others", start.device.held_bytes if shared else 0),
        _Part("kv", f"what is kept for {start.batch.max_num_seqs} sequences", taken.runtime),
    )


def _no_room(stage: Stage, level: Level) -> Obstacle | None:
    found, taken = stage.rooms[level], stage.taken[level]
    if taken.beside <= found.beside + (0 if level == "high" else _unused(stage, taken, level)):
        return None
    parts: dict[Limit, int] = {"activation": taken.activation, "graphs": taken.graphs, "non_torch": taken.other}
    limit = max(parts, key=lambda name: parts[name])
    words = {"activation": "activations", "graphs": "CUDA graphs"}.get(limit, "libraries")
    free = f"{size(max(0, found.beside))} are free"
    return Obstacle(limit=limit, why=f"{words} need {size(taken.beside)} beside the engine's share, {free}")


def _unused(stage: Stage, taken: Taken, level: Level) -> int:
    """While graphs are captured, what is set aside for activations inside the fraction is not in use yet."""
    return 0 if taken.activation else int(getattr(stage.terms.activation, level))


@lru_cache(maxsize=16)
def _has_states(architecture: Same[Architecture]) -> bool:
    return any(isinstance(cache, StateCache) for layer in architecture.value.layers for cache in layer.caches)
