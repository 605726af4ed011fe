"""What does an all-reduce over these nodes measure? Who takes part, do they reach each other, the job, its record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec

from diag.errors import NodeError
from diag.facts.collective import Collective
from diag.facts.node import Node
from diag.facts.record import NotMeasured
from diag.participants import Participants, participants
from diag.remote import onlookers
from diag.remote.job import STOP_S, Job
from diag.remote.meeting import Meeting, endpoint, meet
from diag.remote.outcome import collective
from diag.remote.session import Session
from diag.units import KIB, MIB

SMALLEST_BYTES = 8 * KIB
STEP = 8
LEAST_S = 1.0


def sizes_bytes(largest_bytes: int) -> tuple[int, ...]:
    """``64 MiB`` -> 8 KiB, 64 KiB, 512 KiB, 4 MiB, 64 MiB: times eight; none close below the largest."""
    sizes = []
    size = SMALLEST_BYTES
    while size < largest_bytes / (STEP / 2):
        sizes.append(size)
        size *= STEP
    return (*sizes, max(largest_bytes, SMALLEST_BYTES))


def measure(
    sessions: Mapping[str, Session],
    nodes: Sequence[Node],
    *,
    excluded: Mapping[str, str] | None = None,
    deadline_s: float = 90.0,
    max_size_bytes: int = 64 * MIB,
    ranks_per_node: int | None = None,
    backend: str | None = None,
    on_done: Callable[[str], None],
    keep: Callable[[str, str, int], None] = lambda _node, _output, _bytes: None,
    lose: Callable[[str, NodeError], None] = lambda _node, _error: None,
) -> Collective:
    """All-reduce over ``nodes``, each with its session; over within ``deadline_s``.

    ``excluded``: selected nodes that others ruled out, with why. ``ranks_per_node``: of GLOO; None: one, two on a node
    alone. ``backend`` None: NCCL where it can; else this one, with as many ranks. ``keep`` gets each node's name, the
    last that its ranks wrote, and how many bytes they wrote in all; ``lose`` each node that answers no more. Raises
    NotMeasured when too few nodes can take part.
    """
    began = time.monotonic()
    who = _by(backend, participants(nodes, excluded or {}, ranks_per_node))
    met = meet(sessions, who.places)
    for name, error in met.lost.items():
        lose(name, error)
    who, enough = _who_met(who, met)
    if not enough:
        return _blocked(who, met, time.monotonic() - began)
    until = max(began + deadline_s - STOP_S, time.monotonic() + LEAST_S)
    sizes = sizes_bytes(max_size_bytes)
    watched, unwatched = onlookers.beside(sessions, nodes, who)
    job = Job(sessions, who, port=met.port, sizes_bytes=sizes, until=until, on_done=on_done, watched=watched)
    heard = job.run()
    _hand_over(job, keep, lose)
    found = collective(
        heard,
        rendezvous=endpoint(who.places[0].address, met.port),
        environment=job.exported(),
        blocked=met.blocked,
        taken_s=time.monotonic() - began,
    )
    return msgspec.structs.replace(found, unwatched=tuple(unwatched.items()))


def _by(backend: str | None, who: Participants) -> Participants:
    return who if backend in (None, who.backend) else replace(who, backend=backend, backend_why="")


def _hand_over(job: Job, keep: Callable[[str, str, int], None], lose: Callable[[str, NodeError], None]) -> None:
    for node, end in job.outputs.items():
        keep(node, end.output, end.output_bytes)
    for number, error in job.heard.lost.items():
        lose(job.who.names[number], error)


def _who_met(who: Participants, met: Meeting) -> tuple[Participants, bool]:
    """Those who reach each other, and whether they are enough."""
    there = {place.node for place in met.places}
    ranks = tuple(count for place, count in zip(who.places, who.ranks, strict=True) if place.node in there)
    left = replace(who, places=met.places, ranks=ranks, excluded={**who.excluded, **met.excluded})
    return left, len(met.places) >= min(len(who.places), 2)


def _blocked(who: Participants, met: Meeting, taken_s: float) -> Collective:
    """No two nodes are left that reach each other: nothing was run, and that is the finding."""
    if not met.blocked:
        raise NotMeasured("; ".join(f"{name}: {why}" for name, why in met.excluded.items()))
    return Collective(
        backend=who.backend,
        nodes=(),
        excluded=tuple(who.excluded.items()),
        world_size=0,
        finished=False,
        seconds=round(taken_s, 3),
        interface_why=who.interface_why,
        blocked=met.blocked,
        summary="; ".join(met.excluded.values()),
    )
