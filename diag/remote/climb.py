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
RUNG_S = 25.0


def climb(
    session: Session, node: Node, found: NodeCollectives, log: Any, seconds: float = float("inf")
) -> NodeCollectives:
    """The ladder, on a degraded node; over as soon as a step names the cause, or no other fits into ``seconds``."""
    until = time.monotonic() + seconds
    who, chosen = among(node), ladder.steps(log)
    rungs: list[Rung] = []
    for place, step in enumerate(chosen):
        if time.monotonic() + RUNG_S > until:
            break
        sets = ladder.variables(chosen, place)
        told = run(session, (node, who), {"kinds": KINDS[:1], "sizes": RUNG_SIZES, "log": ""}, sets, RUNG_S)
        rungs.append(_rung(step.name, sets, told, who.world_size))
        if ladder.is_decided(rungs):
            break
    return msgspec.structs.replace(found, ladder=tuple(rungs), ladder_says=ladder.says(rungs))


def _rung(name: str, sets: Mapping[str, str], told: Told, ranks: int) -> Rung:
    rows = {row.size_bytes: row for row in times(told.heard, ranks, "default") if not row.captured}
    large, small = rows.get(RUNG_SIZES[-1] // 4 // ranks * ranks * 4), rows.get(RUNG_SIZES[0] // 4 // ranks * ranks * 4)
    return Rung(
        step=name,
        variables=tuple(sorted(sets.items())),
        busbw_bytes_per_s=large.busbw_bytes_per_s if large is not None and told.finished else None,
        latency_s=median(small.times_s) if small is not None else None,
        verified=all(row.verified for row in rows.values()),
        why="" if told.finished else told.summary,
    )
