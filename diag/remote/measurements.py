"""How are a node's GPUs measured? One job of its agent: a leader that runs each measurement in a child of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from diag.facts.node import Node
from diag.facts.speed import Speed
from diag.remote import onlookers
from diag.remote.inside import InnerSession
from diag.remote.schedule import Schedule
from diag.remote.session import Session
from diag.remote.speeds import speed

LEADER = ("{python}", "-c", "import sys; sys.path.insert(0, sys.argv.pop(1)); import measure; measure.main()", "{pyz}")
LEADER_GRACE_S = 5.0
"""The leader ends its children itself; past this the agent ends the leader."""
ENVIRONMENT: Mapping[str, str] = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "OMP_NUM_THREADS": "1"}
"""The order in which NVML counts; what the CPU computes for a check needs no second core."""


def measure(
    session: Session, plan: Schedule, node: Node | None = None, *, environment: Mapping[str, str] | None = None
) -> Speed:
    """Raises NodeError when the node stops answering. Of a container its host looks for newcomers, too."""
    began = time.monotonic()
    lines: list[Mapping[str, Any]] = []
    onlooker = onlookers.of(session, node) if node is not None and isinstance(session, InnerSession) else None

    def stop(why: str) -> None:
        lines.append({"stopped": why})
        session.stop_jobs()

    if isinstance(onlooker, onlookers.Onlooker):
        onlookers.start(onlooker, plan.seconds, stop)
    wish = {"rounds": plan.rounds, "seconds": plan.seconds, "watch": plan.watch}
    argv = (*LEADER, msgspec.json.encode(wish).decode())
    try:
        end = session.job(argv, {**ENVIRONMENT, **(environment or {})}, plan.seconds + LEADER_GRACE_S, lines.append)
    finally:
        if isinstance(onlooker, onlookers.Onlooker):
            onlooker.stop()
    return speed(plan, lines, end, time.monotonic() - began)
