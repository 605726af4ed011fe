"""How is the ladder climbed on a degraded node: step by step, until one tells what is at fault? ladder.py decides."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import msgspec

from diag.facts.node import Node
from diag.facts.speed import NodeCollectives, Rung
from diag.remote import ladder
from diag.remote.node_collectives import KINDS, Told, among, run
from diag.remote.node_times import times
from diag.remote.session import Session
from diag.units import KIB, MIB

RUNG_SIZES = (64 * KIB, 256 * MIB)
FIRST_S, RUNG_S = 40.0, 25.0
"""The first one may have to read its libraries from a disk."""
FAIR_S = 8.0
"""A first collective that had less is not called hanging: it makes the communicator."""


def climb(
    session: Session, node: Node, found: NodeCollectives, log: Any, seconds: float = float("inf")
) -> NodeCollectives:
    """The ladder, on a degraded node; over as soon as a step names the cause, or no other fits into ``seconds``."""
    until = time.monotonic() + seconds
    engine, failed = dict(found.engine_variables), ladder.has_failed(found)
    who, chosen = among(node), ladder.steps(log, engine)
    rungs: list[Rung] = []
    for place, step in enumerate(chosen):
        rung_s = RUNG_S if rungs else FIRST_S
        if time.monotonic() + rung_s > until:
            break
        sets = ladder.variables(chosen, place, engine)
        told = run(session, (node, who), {"kinds": KINDS[:1], "sizes": RUNG_SIZES, "log": ""}, sets, rung_s)
        rungs.append(rung(step.name, sets, told, who.world_size, rung_s))
        if told.stopped or ladder.is_decided(rungs, failed=failed):
            break
    says = ladder.says(rungs, failed=failed, whole=len(rungs) == len(chosen))
    return msgspec.structs.replace(found, ladder=tuple(rungs), ladder_says=says)


def rung(name: str, sets: Mapping[str, str], told: Told, ranks: int, seconds: float) -> Rung:
    rows = {row.size_bytes: row for row in times(told.heard, ranks, "default") if not row.captured}
    large, small = rows.get(RUNG_SIZES[-1] // 4 // ranks * ranks * 4), rows.get(RUNG_SIZES[0] // 4 // ranks * ranks * 4)
    right = all(row.verified for row in rows.values())
    known = large is not None or not right if told.finished else _had_its_chance(told, ranks, seconds)
    return Rung(
        step=name,
        variables=tuple(sorted(sets.items())),
        busbw_bytes_per_s=large.busbw_bytes_per_s if large is not None and told.finished else None,
        latency_s=median(small.times_s) if small is not None else None,
        verified=right,
        why="" if told.finished else told.summary,
        known=known,
    )


def _had_its_chance(told: Told, ranks: int, seconds: float) -> bool:
    """Whether its first collective began on every rank, soon enough for an end of it to mean something."""
    phases = [dict(each) for each in told.heard.phases.values()]
    began = [each["initialised"] for each in phases if "initialised" in each]
    return not told.stopped and len(began) == ranks and max(began) + FAIR_S <= seconds
