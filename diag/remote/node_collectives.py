"""What do the GPUs of one node reach together? Collectives of several kinds through torchrun, each node for itself.

First with NCCL's log on and nothing timed; then under the engine's environment; then, where that sets anything, with
the library's own defaults. vLLM's own all-reduces are timed where vLLM is installed. On a degraded node: the ladder.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import msgspec

from diag.data_interface import Place
from diag.errors import NodeError
from diag.facts.derived import package
from diag.facts.node import Node
from diag.facts.record import NotMeasured, unknown
from diag.facts.speed import CollectiveTime, NodeCollectives, Rung, Speed
from diag.participants import ONE_GPU, Participants, participants
from diag.probes import nccl_log
from diag.remote import ladder, onlookers
from diag.remote.hearing import Hearing, Measured
from diag.remote.job import Job
from diag.remote.meeting import meet
from diag.remote.outcome import collective
from diag.remote.schedule import COLLECTIVES_S
from diag.remote.session import Session
from diag.units import GIB, KIB, MIB, gb_per_s, size
from diag.wishes import EngineEnvironment

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast")
SIZES = (KIB, 8 * KIB, 64 * KIB, 256 * KIB, MIB, 16 * MIB, 256 * MIB, GIB)
GLOO_SIZES = 6
"""Of these: larger ones would not fit into the time."""
RUNG_SIZES = (64 * KIB, 256 * MIB)
FACTORS: Mapping[str, float] = {"all_reduce": 2.0, "vllm_custom": 2.0, "vllm_pynccl": 2.0}
"""Of (n-1)/n · size/time; broadcast: size/time itself, others 1 (nccl-tests, PERFORMANCE.md)."""
JOB_S, RUNG_S = 45.0, 25.0
LEAST_S = 15.0
"""No job is begun with less: importing torch and making a communicator take most of it."""
LOOPBACK = Place(node="", interface="lo", address="127.0.0.1")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What one job came to."""

    heard: Any
    summary: str
    finished: bool
    stopped: str = ""


def measure(
    session: Session,
    node: Node,
    found: Speed,
    environment: EngineEnvironment,
    seconds: float = COLLECTIVES_S,
    *,
    keep: Callable[[str], None] = lambda _: None,
) -> NodeCollectives:
    """Within ``seconds``; ``keep`` gets the library's log.

    Raises NodeError when the node stops answering; ``Missing`` where no job was run.
    """
    if seconds < LEAST_S:
        too_late: NodeCollectives = unknown("no time was left for it")
        return too_late
    if found.stopped:
        not_begun: NodeCollectives = unknown(f"not run after this: {found.stopped}")
        return not_begun
    wedged = next((lost.why for lost in found.lost if lost.topic == "p2p" and lost.how == "killed"), "")
    if wedged:
        not_run: NodeCollectives = unknown(f"not run after a pair of GPUs that hung: {wedged}")
        return not_run
    try:
        who = among(node)
    except NotMeasured as why:
        absent: NodeCollectives = unknown(str(why))
        return absent
    sizes = SIZES if who.backend == "nccl" else SIZES[:GLOO_SIZES]
    until = time.monotonic() + min(COLLECTIVES_S, seconds)
    return together(session, who, node, environment, sizes=sizes, until=until, keep=keep)


def among(node: Node, ranks: int | None = None) -> Participants:
    """The node alone, met on its loopback: a rank for each GPU, or ``ranks`` of GLOO. Raises NotMeasured.

    One GPU is enough here: its communicator and graphs are those of a rank, its busbw is none.
    """
    who = participants([node], {}, ranks)
    if who.backend_why == ONE_GPU and ranks is None:
        who = replace(who, backend="nccl", backend_why="", ranks=(1,))
    return replace(who, places=(replace(LOOPBACK, node=node.name),))


def together(
    session: Session,
    who: Participants,
    node: Node,
    engine: EngineEnvironment,
    *,
    sizes: Sequence[int] = SIZES,
    until: float,
    keep: Callable[[str], None] = lambda _: None,
) -> NodeCollectives:
    """Job by job, those that matter most first. What came of those before stays when one fails, or has no time."""

    def job(environment: Mapping[str, str], **wish: Any) -> Told:
        asked = {"kinds": [], "sizes": [], "log": "", **wish}
        return run(session, (node, who), asked, environment, min(JOB_S, max(LEAST_S, until - time.monotonic())))

    jobs = [("engine", log := job(engine.variables, log="{dir}/nccl"))]
    for name, environment, wish in _further(who, node, engine, sizes):
        if jobs[-1][1].finished and until - time.monotonic() > LEAST_S:
            jobs.append((name, job(environment, **wish)))
    times = tuple(row for name, told in jobs for row in _times(told.heard, who.world_size, name))
    taken = log.heard.communicator_bytes.values()
    said = [line for _, lines in sorted(log.heard.logs.items()) for line in lines]
    if said:
        keep("\n".join(said))
    return NodeCollectives(
        backend=who.backend,
        world_size=who.world_size,
        library=log.heard.library,
        engine=engine.name,
        engine_variables=tuple(sorted(engine.variables.items())),
        times=times,
        communicator_bytes=max(taken) if taken else unknown(f"{who.backend} takes none of a GPU, or did not say"),
        log=nccl_log.read(said) if said else unknown(f"no log of NCCL: {log.summary}"),
        summary=_summary(who, times, jobs),
        stopped=next((told.stopped for _, told in jobs if told.stopped), ""),
    )


def _further(
    who: Participants, node: Node, engine: EngineEnvironment, sizes: Sequence[int]
) -> Iterator[tuple[str, Mapping[str, str], dict[str, Any]]]:
    """The jobs after the first, which writes the log: whose environment, which, what is asked."""
    yield "engine", engine.variables, {"kinds": KINDS, "sizes": sizes}
    if engine.variables:
        yield "default", {}, {"kinds": KINDS[:1], "sizes": sizes}
    if who.backend == "nccl" and package(node, "vllm") is not None:
        yield "engine", engine.variables, {"sizes": sizes, "vllm": True}


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
    rows = {row.size_bytes: row for row in _times(told.heard, ranks, "default") if not row.captured}
    large, small = rows.get(RUNG_SIZES[-1] // 4 // ranks * ranks * 4), rows.get(RUNG_SIZES[0] // 4 // ranks * ranks * 4)
    return Rung(
        step=name,
        variables=tuple(sorted(sets.items())),
        busbw_bytes_per_s=large.busbw_bytes_per_s if large is not None and told.finished else None,
        latency_s=median(small.times_s) if small is not None else None,
        verified=all(row.verified for row in rows.values()),
        why="" if told.finished else told.summary,
    )


def run(
    session: Session,
    where: tuple[Node, Participants],
    wish: Mapping[str, Any],
    environment: Mapping[str, str],
    seconds: float,
) -> Told:
    """One torchrun job on this node alone. Raises NodeError when the node stops answering."""
    began = time.monotonic()
    node, who = where
    name = who.names[0]
    met = meet({name: session}, who.places)
    if met.lost:
        raise met.lost[name]
    asked = json.dumps({"captured": True, "vllm": False, **wish})
    job = Job(
        {name: session}, who, port=met.port, until=began + seconds, on_done=lambda _: None,
        program=("collectives", asked), environment=environment,
        watched=onlookers.beside({name: session}, [node], who)[0],
    )  # fmt: skip
    heard = job.run()
    for error in heard.lost.values():
        raise NodeError(name, error.cause, error.what)
    told = collective(heard, rendezvous="", environment=job.exported(), blocked=(), taken_s=time.monotonic() - began)
    return Told(heard=heard, summary=told.summary, finished=told.finished, stopped=told.stopped)


def _times(heard: Hearing, ranks: int, environment: str) -> list[CollectiveTime]:
    """As slow as on the slowest rank, right where it is on all; what some rank did not tell is none."""
    rows: dict[tuple[str, bool, int], list[Measured]] = {}
    for told in heard.measured.values():
        for row in told:
            if not row.why and row.times_s:
                rows.setdefault((row.collective, row.captured, row.size_bytes), []).append(row)
    found = []
    for (kind, captured, size_bytes), each in rows.items():
        if len(each) < ranks:
            continue
        times_s = tuple(max(times) for times in zip(*(row.times_s for row in each), strict=False))
        found.append(
            CollectiveTime(
                collective=kind,
                environment=environment,
                captured=captured,
                size_bytes=size_bytes,
                times_s=times_s,
                busbw_bytes_per_s=busbw(kind, ranks, size_bytes, median(times_s)),
                verified=all(row.verified for row in each),
            )
        )
    return found


def busbw(kind: str, ranks: int, size_bytes: int, time_s: float) -> float:
    if kind == "broadcast":
        return size_bytes / time_s
    return FACTORS.get(kind, 1.0) * (ranks - 1) / ranks * size_bytes / time_s


def _summary(who: Participants, times: Sequence[CollectiveTime], jobs: Sequence[tuple[str, Told]]) -> str:
    broken = next((told.summary for _, told in jobs if not told.finished), "")
    if broken:
        return broken
    largest = max(
        (row for row in times if row.collective == "all_reduce"), key=lambda row: row.size_bytes, default=None
    )
    rate = f", busbw {gb_per_s(largest.busbw_bytes_per_s)} at {size(largest.size_bytes)}" if largest else ""
    return f"{who.backend}, {who.world_size} ranks{rate}"
