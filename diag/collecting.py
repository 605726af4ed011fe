"""What do the nodes of a run do together, and until when? Their links; an all-reduce; one without who was at fault.

It starts nothing: it says what is to be called, or why nothing is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from diag import sweeping
from diag.facts.collective import Collective
from diag.facts.derived import NO_PAIRS
from diag.facts.links import Links
from diag.facts.node import Node
from diag.facts.record import Known, Missing, NotMeasured, unknown
from diag.remote import collective, retry
from diag.remote.session import Session
from diag.units import MIB
from diag.wishes import DEADLINES_S, Wishes

GLOO_S, LEAST_S = 30.0, 10.0
HUNG_S, IN_COLLECTIVE = 5.0, ("first_collective", "size_")
"""So long in one of these phases is no matter of the deadline any more."""
GLOO_BYTES = MIB
"""Engines pass small messages over it: counts, shapes, metadata."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """``nodes``: those that may be loaded, in an order that every run has; ``excluded``: the others, with why."""

    nodes: Mapping[str, Node]
    sessions: Mapping[str, Session]
    excluded: Mapping[str, str]
    wishes: Wishes


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """``call`` None: nothing is to be run, and ``answer`` stands in its place."""

    stage: str = ""
    nodes: tuple[str, ...] = ()
    call: Callable[..., Any] | None = None
    answer: Any = None
    so_far: Callable[[], Any] = lambda: unknown("the run was interrupted")
    """What is known of it when it is interrupted."""


def links(scene: Scene) -> Work:
    wishes = scene.wishes
    if wishes.level == "passive":
        return Work(answer=unknown("level passive loads no link"))
    if len(scene.nodes) + len(scene.excluded) < 2:  # noqa: PLR2004 - a link has two ends
        return Work(answer=unknown("one node: it has no link to another"))
    if len(scene.nodes) < 2:  # noqa: PLR2004 - as above
        reasons = "; ".join(f"{name}: {why}" for name, why in scene.excluded.items())
        return Work(answer=unknown(f"fewer than two nodes can take part: {reasons}"))
    if wishes.pairs == "none":
        return Work(answer=NO_PAIRS)
    order = sweeping.Order(
        mode=wishes.pairs,
        level=wishes.level,
        limit_s=wishes.deadline_s("links"),
        max_pairs=wishes.max_pairs,
        even_if_busy="busy" in wishes.permitted,
    )
    try:
        sweep = sweeping.Sweep(scene.sessions, list(scene.nodes.values()), order)
    except NotMeasured as why:
        return Work(answer=unknown(str(why)))
    return Work(stage="links", nodes=tuple(scene.nodes), call=sweep.measure, so_far=sweep.known)


def first(scene: Scene, around: Known[Links]) -> Work:
    """Without the nodes whose NIC others use: an all-reduce would take it from them."""
    if scene.wishes.level == "passive":
        return Work(answer=unknown("level passive starts no collective"))
    rows = () if isinstance(around, Missing) or "busy" in scene.wishes.permitted else around.background
    used = {row.node: row.why_busy for row in rows if row.why_busy}
    return _over(scene, "collectives", {**scene.excluded, **used}, scene.wishes.deadline_s("collectives"))


def excused(found: Known[Collective], wishes: Wishes) -> Known[Collective]:
    """Time that the user cut short and nobody wasted is no fault: it was ended for that."""
    limit_s, usual_s = wishes.deadline_s("collectives"), DEADLINES_S["collectives"]
    if isinstance(found, Missing) or found.finished or found.stopped or limit_s >= usual_s:
        return found
    hung = any(rank.into.startswith(IN_COLLECTIVE) and rank.into_s > HUNG_S for rank in found.ranks)
    if found.guilty or found.blocked or hung or not all(step.verified for step in found.steps):
        return found
    why = f"its deadline of {limit_s:g} s was over, where {usual_s:g} s are usual; nothing was seen to be wrong"
    return msgspec.structs.replace(found, stopped=why)


def gloo(scene: Scene, before: Known[Collective]) -> Work:
    """Beside NCCL engines keep groups of GLOO, which goes other ways; in what the all-reduce left of its time."""
    if isinstance(before, Missing):
        return Work(answer=unknown(f"no all-reduce ran before it: {before.why}"))
    if before.backend == "gloo":
        return Work(answer=None)
    if not before.finished:
        return Work(answer=unknown(f"not run after an all-reduce that did not finish: {before.summary}"))
    left_s = scene.wishes.deadline_s("collectives") - before.seconds
    if left_s < LEAST_S:
        return Work(answer=unknown(f"no time was left for it: {left_s:.0f} s of the collectives' deadline"))
    excluded = {**dict(before.excluded), **scene.excluded}
    return _over(scene, "gloo", excluded, min(left_s, GLOO_S), largest_bytes=GLOO_BYTES, backend="gloo")


def again(scene: Scene, before: Known[Collective]) -> Work:
    """What works without those at fault; None where everything came through."""
    if isinstance(before, Missing):
        return Work(answer=unknown(f"no all-reduce to repeat: {before.why}"))
    at_fault = retry.at_fault(before)
    if not at_fault:
        why = retry.why_not(before)
        return Work(answer=None if why is None else unknown(why))
    left = [name for name in before.nodes if name in scene.nodes and name not in at_fault]
    if len(left) < retry.TOGETHER:
        return Work(
            answer=unknown(f"without {', '.join(at_fault)} too few nodes are left: {', '.join(left) or 'none'}")
        )
    excluded = {**dict(before.excluded), **scene.excluded, **at_fault}
    limit_s = min(scene.wishes.deadline_s("collectives"), scene.wishes.deadline_s("retry"))
    return _over(scene, "retry", excluded, limit_s)


def _over(
    scene: Scene,
    stage: str,
    excluded: Mapping[str, str],
    deadline_s: float,
    *,
    largest_bytes: int | None = None,
    backend: str | None = None,
) -> Work:
    names = tuple(name for name in scene.nodes if name not in excluded)
    call = partial(
        collective.measure,
        {name: scene.sessions[name] for name in names},
        [scene.nodes[name] for name in names],
        excluded=excluded,
        deadline_s=deadline_s,
        max_size_bytes=min(scene.wishes.max_size_bytes, largest_bytes or scene.wishes.max_size_bytes),
        backend=backend,
    )
    return Work(stage=stage, nodes=names, call=call)
