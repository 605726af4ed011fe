"""What do the GPUs of one node reach together? Collectives of several kinds through torchrun, each node for itself.

First with NCCL's log on and nothing timed; then under the engine's environment; then, where that sets anything, with
the library's own defaults. vLLM's own all-reduces are timed where vLLM is installed. What was not to be had
has its reason.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from diag.data_interface import Place
from diag.errors import NodeError
from diag.facts.derived import package
from diag.facts.lost import why_no_more
from diag.facts.node import Node
from diag.facts.record import NotMeasured, unknown
from diag.facts.speed import NO_TIME, CollectiveTime, NodeCollectives, Speed
from diag.participants import ONE_GPU, Participants, participants
from diag.probes import nccl_log
from diag.remote import node_times, onlookers
from diag.remote.hearing import Hearing
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
JOB_S = 45.0
LEAST_S, VLLM_LEAST_S = 15.0, 30.0
"""No job is begun with less: importing torch, or vLLM, and making a communicator take most of it."""
LOOPBACK = Place(node="", interface="lo", address="127.0.0.1")


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What one job came to."""

    heard: Hearing
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
    if why := why_no_more(found):
        not_begun: NodeCollectives = unknown(f"not run after this: {why}")
        return not_begun
    try:
        who = among(node)
    except NotMeasured as why:
        absent: NodeCollectives = unknown(str(why))
        return absent
    sizes = SIZES if who.backend == "nccl" else SIZES[:GLOO_SIZES]
    until = time.monotonic() + seconds
    return together(session, who, node, environment, sizes=sizes, until=until, keep=keep)


def among(node: Node, ranks: int | None = None) -> Participants:
    """The node alone, met on its loopback: a rank for each GPU, or ``ranks`` of GLOO. Raises NotMeasured.

    One GPU is enough here: its communicator and graphs are those of a rank, its busbw is none.
    """
    who = participants([node], {}, ranks)
    if who.backend_why == ONE_GPU and ranks is None:
        who = replace(who, backend="nccl", backend_why="", ranks=(1,))
    return replace(who, places=(replace(LOOPBACK, node=node.name),))


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One job: what it is for, in words; whose variables; what is asked; the least seconds that it needs."""

    what: str
    whose: str
    variables: Mapping[str, str]
    wish: Mapping[str, Any]
    least_s: float = LEAST_S


def parts(who: Participants, node: Node, engine: EngineEnvironment, sizes: Sequence[int]) -> Iterator[Part]:
    """Those that matter most first; the first of all writes NCCL's log."""
    yield Part(what="NCCL's log", whose="engine", variables=engine.variables, wish={"log": "{dir}/nccl"})
    wish = {"kinds": KINDS, "sizes": sizes, "groups": groups(who.world_size)}
    yield Part(what="the collectives", whose="engine", variables=engine.variables, wish=wish)
    if engine.variables:
        wish = {"kinds": KINDS[:1], "sizes": sizes}
        yield Part(what="all_reduce under the library's defaults", whose="default", variables={}, wish=wish)
    if who.backend == "nccl" and who.world_size > 1 and package(node, "vllm") is not None:
        yield Part(
            what="vLLM's own all-reduces", whose="engine", variables=engine.variables,
            wish={"sizes": sizes, "vllm": True}, least_s=VLLM_LEAST_S,
        )  # fmt: skip


def groups(ranks: int) -> list[int]:
    """Of how many ranks engines form groups: powers of two below all, and all."""
    return [*(1 << power for power in range(1, ranks.bit_length()) if 1 << power < ranks), ranks] if ranks > 1 else []


def share(left: Sequence[Part], seconds: float) -> float:
    """Seconds for the first of ``left``: what the others do not need at least, but no less than it needs itself."""
    first, *later = left
    return min(JOB_S, max(first.least_s, seconds - sum(part.least_s for part in later)))


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
    """Job by job. What came of those before stays when one fails, or has no time; what was left out has its reason."""
    every = tuple(parts(who, node, engine, sizes))
    jobs: list[tuple[Part, Told]] = []
    left_out: list[tuple[str, str]] = []
    for place, part in enumerate(every):
        left_s = until - time.monotonic()
        if jobs and not jobs[-1][1].finished:
            left_out.append((part.what, f"not run after this: {jobs[-1][1].summary}"))
        elif jobs and left_s < part.least_s:
            left_out.append((part.what, f"{NO_TIME}: {max(0.0, left_s):.0f} s, and it takes {part.least_s:g} s"))
        else:
            asked = {"kinds": [], "sizes": [], "log": "", **part.wish}
            told = run(session, (node, who), asked, part.variables, share(every[place:], left_s))
            jobs.append((part, told))
    left_out += dict.fromkeys(row for part, told in jobs for row in node_times.left_out(told.heard, part.whose))
    return _record((node, who), engine, jobs, tuple(left_out), keep)


def _record(
    where: tuple[Node, Participants],
    engine: EngineEnvironment,
    jobs: Sequence[tuple[Part, Told]],
    left_out: tuple[tuple[str, str], ...],
    keep: Callable[[str], None],
) -> NodeCollectives:
    log, (node, who) = jobs[0][1], where
    times = tuple(row for part, told in jobs for row in node_times.times(told.heard, who.world_size, part.whose))
    taken = log.heard.communicator_bytes.values()
    said = [line for _, lines in sorted(log.heard.logs.items()) for line in lines]
    if said:
        keep("\n".join(said))
    return NodeCollectives(
        backend=who.backend,
        world_size=who.world_size,
        library=log.heard.library,
        gpus=node_times.gpus(log.heard, node, who.world_size) if who.backend == "nccl" else (),
        engine=engine.name,
        engine_variables=tuple(sorted(engine.variables.items())),
        times=times,
        communicator_bytes=max(taken) if taken else unknown(f"{who.backend} takes none of a GPU, or did not say"),
        communicators=next((row for _, told in jobs if (row := node_times.communicators(told.heard))), ()),
        log=nccl_log.read(said) if said else unknown(f"no log of NCCL: {log.summary}"),
        left_out=left_out,
        summary=_summary(who, times, [told for _, told in jobs], left_out),
        stopped=next((told.stopped for _, told in jobs if told.stopped), ""),
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
    asked = json.dumps({"captured": True, "vllm": False, "groups": [], **wish})
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


def _summary(
    who: Participants, times: Sequence[CollectiveTime], jobs: Sequence[Told], left_out: tuple[tuple[str, str], ...]
) -> str:
    broken = next((told.summary for told in jobs if not told.finished), "")
    if broken:
        return broken
    if not times and left_out:
        return f"{who.backend}, {who.world_size} ranks; {left_out[0][0]}: {left_out[0][1]}"
    largest = max(
        (row for row in times if row.collective == "all_reduce"), key=lambda row: row.size_bytes, default=None
    )
    rate = f", busbw {gb_per_s(largest.busbw_bytes_per_s)} at {size(largest.size_bytes)}" if largest else ""
    return f"{who.backend}, {who.world_size} ranks{rate}"
