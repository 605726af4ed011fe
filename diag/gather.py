"""Probes × nodes -> Snapshot: what is done on which nodes, in which order, and until when?

Four stages, each on the nodes still there, each with a deadline: reach, facts, measure, collectives. A node that fails
keeps its place in the Snapshot with the reason; nothing is lost when the run is interrupted.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from diag import __version__, busy, probes, roster
from diag.errors import NodeError
from diag.facts.collective import Collective
from diag.facts.model import ReadSpeed
from diag.facts.network import Resolution
from diag.facts.node import Evidence, Reach
from diag.facts.record import UNASKED, Known, NotMeasured, is_known, peek, unknown
from diag.facts.snapshot import SCHEMA, Controller, Snapshot, Stage
from diag.facts.system import Clock
from diag.inventory import Host
from diag.probes.verbs import Answer
from diag.remote import collective, fanout
from diag.remote.session import Session, open_session
from diag.remote.transport import Transport
from diag.wishes import Wishes

CONNECTIONS_AT_ONCE = 2048
"""A place for each host of all but the largest clusters: who hangs takes nobody's place."""
SHARED_READERS_AT_ONCE = 4
END_S = 5.0
REPORT_S = 0.3
"""How much sooner than its stage a connection gives up."""

T = TypeVar("T")


class Progress(Protocol):
    """Who watches the run: the live display, or nobody."""

    def stage(self, name: str, nodes: Sequence[str]) -> None: ...
    def done(self, node: str, *, lost: bool = False) -> None: ...
    def ended(self, note: str) -> None: ...


def gather(
    hosts: Sequence[Host],
    wishes: Wishes,
    *,
    run_id: str,
    transports: Mapping[str, Transport],
    progress: Progress,
    store: Callable[[bytes], str],
    interruptible: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Snapshot:
    """Visit all ``hosts``; ``store`` keeps raw evidence, returns its sha256. An interrupt ends it early, not empty.

    ``interruptible`` is entered around what an interrupt may end; it raises KeyboardInterrupt nowhere else.
    """
    run = _Run(hosts, wishes, transports, progress, store)
    interrupted = False
    taken_at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        with interruptible():
            for stage in (run.reach, run.facts, run.measure, run.collectives):
                stage()
    except KeyboardInterrupt:
        interrupted = True
        run.mark_interrupted()
    finally:
        run.end(interruptible)
    return Snapshot(
        schema=SCHEMA,
        taken_at=taken_at,
        run_id=run_id,
        level=wishes.level,
        level_why=run.level_why(),
        controller=Controller(hostname=platform.node(), python=platform.python_version(), diag=__version__),
        model_path=wishes.model_path,
        nodes=tuple(run.nodes[host.name] for host in hosts),
        resolutions=run.resolutions,
        collective=run.collective,
        stages=tuple(run.stages),
        interrupted=interrupted,
    )


class _Run:
    """What is known so far: it grows stage by stage, and an interrupt leaves it as it is."""

    def __init__(
        self,
        hosts: Sequence[Host],
        wishes: Wishes,
        transports: Mapping[str, Transport],
        progress: Progress,
        store: Callable[[bytes], str],
    ) -> None:
        self.hosts = {host.name: host for host in hosts}
        self.wishes = wishes
        self.transports = transports
        self.progress = progress
        self.store = store
        self.sessions: dict[str, Session] = {}
        self.nodes = {host.name: roster.unreached(host, None) for host in hosts}
        self.resolutions: Known[tuple[Resolution, ...]] = unknown("no node was asked")
        self.collective: Known[Collective] = unknown("the run ended before the collectives")
        self.stages: list[Stage] = []

    def reach(self) -> None:
        deadline_s = self.wishes.deadline_s("reach") - REPORT_S  # so that each says itself what it hung in

        def visit(host: Host) -> Callable[[], Session]:
            return lambda: open_session(host, self.transports[host.transport], deadline_s)

        def keep(name: str, session: Session | NodeError) -> None:
            if isinstance(session, NodeError):
                self.nodes[name] = roster.unreached(self.hosts[name], session)
            else:
                self.sessions[name] = session
                self.nodes[name] = roster.reached(self.hosts[name], session)

        self._stage("reach", {name: visit(host) for name, host in self.hosts.items()}, keep)

    def facts(self) -> None:
        deadline_s = self.wishes.deadline_s("facts")
        names = tuple(sorted({*self.hosts, *(session.hello.hostname for session in self.sessions.values())}))
        requests = probes.requests_for(model_path=self.wishes.model_path, names=names)

        def ask(session: Session) -> Callable[[], tuple[tuple[Answer, ...], Clock]]:
            return lambda: (session.ask(requests, deadline_s), roster.clock(session))

        resolved: dict[str, tuple[Answer, ...]] = {}

        def keep(name: str, outcome: tuple[tuple[Answer, ...], Clock] | NodeError) -> None:
            if isinstance(outcome, NodeError):
                self._lose(name, "facts", outcome)
                return
            resolved[name], clock = outcome
            self._set(name, clock=clock, evidence=self._keep(resolved[name]), **probes.facts_from(resolved[name]))

        try:
            self._stage("facts", {name: ask(session) for name, session in self.sessions.items()}, keep)
        finally:
            self.resolutions = probes.fold_resolutions(resolved)

    def measure(self) -> None:
        """Read speed of the model path: all at once on local disks, four at a time on a shared file system."""
        path = self.wishes.model_path
        if path is None or self.wishes.level == "passive":
            why = "no --model was named" if path is None else "level passive reads no files at speed"
            for name in self.sessions:
                self._set(name, read_speed=unknown(why))
            return
        deadline_s = self.wishes.deadline_s("measure")
        willing = self._willing()
        for name in self.sessions.keys() - willing:
            self._set(name, read_speed=unknown(self._unwilling(name)))
        readers = [name for name in willing if busy.has_model(self.nodes[name])]
        shared = any(busy.reads_shared_files(self.nodes[name]) for name in readers)
        at_once = SHARED_READERS_AT_ONCE if shared else CONNECTIONS_AT_ONCE
        limit_bytes = 256 * 1024**2 if self.wishes.level == "quick" else 1024**3
        each_s = deadline_s / max(1.0, -(-len(readers) // at_once)) * 0.8

        def read(session: Session) -> Callable[[], ReadSpeed]:
            request = probes.read_speed_request(path, limit_bytes=limit_bytes, seconds=min(10.0, each_s))
            return lambda: probes.read_speed(session.ask((request,), deadline_s), readers=min(at_once, len(readers)))

        def keep(name: str, outcome: ReadSpeed | NodeError) -> None:
            if isinstance(outcome, NodeError):
                self._lose(name, "measure", outcome)
            else:
                self._set(name, read_speed=outcome)

        self._stage("measure", {name: read(self.sessions[name]) for name in readers}, keep, width=at_once)

    def collectives(self) -> None:
        if self.wishes.level == "passive":
            self.collective = unknown("level passive starts no collective")
            return
        willing = self._willing()
        excluded = {name: self._unwilling(name) for name in self.hosts if name not in willing}
        done = 0
        began = time.monotonic()
        self.progress.stage("collectives", willing)
        try:
            self.collective = collective.measure(
                {name: self.sessions[name] for name in willing},
                [self.nodes[name] for name in willing],
                excluded=excluded,
                deadline_s=self.wishes.deadline_s("collectives"),
                max_size_bytes=self.wishes.max_size_bytes,
                on_done=self.progress.done,
                keep=self._keep_output,
                lose=lambda name, error: self._lose(name, "collectives", error),
            )
            done, note = len(self.collective.nodes_through), self.collective.summary
        except NotMeasured as why:
            self.collective = unknown(str(why))
            note = f"not measured: {why}"
        except KeyboardInterrupt:
            self.collective, note = unknown("the run was interrupted before the all-reduce ended"), "interrupted"
            raise
        finally:
            self.stages.append(_stage("collectives", began, done, len(self.hosts)))
            self.progress.ended(note)

    def mark_interrupted(self) -> None:
        for name, node in self.nodes.items():
            open_ = [topic for topic in probes.TOPICS if peek(node, topic) == UNASKED]
            self._set(name, **roster.not_known(open_, "the run was interrupted before"))

    def end(self, interruptible: Callable[[], AbstractContextManager[None]]) -> None:
        """Let every agent clean up and say what it could not; those that do not answer are dropped."""
        goodbyes = {name: partial(session.end, END_S) for name, session in self.sessions.items()}
        left: dict[str, tuple[str, ...] | NodeError] = {}
        try:
            with interruptible():
                left = fanout.each(goodbyes, width=CONNECTIONS_AT_ONCE, deadline_s=END_S + 1)
        except KeyboardInterrupt:  # everything is measured; only the goodbyes are cut short
            pass
        finally:
            for session in self.sessions.values():
                session.abort()
        for name in goodbyes:
            outcome = left.get(name, NodeError(name, "agent_silent", "the run was interrupted"))
            lines = unknown(f"no goodbye: {outcome.what}") if isinstance(outcome, NodeError) else outcome
            self._set(name, left_behind=lines)

    def level_why(self) -> str:
        reasons = {name: busy.why_busy(self.nodes[name]) for name in self.sessions}
        return "; ".join(f"{name}: {why}" for name, why in reasons.items() if why)

    def _stage(
        self,
        stage: str,
        work: Mapping[str, Callable[[], T]],
        keep: Callable[[str, T | NodeError], None],
        width: int = CONNECTIONS_AT_ONCE,
    ) -> None:
        """What each node gave is kept as it comes: an interrupt costs only those that are still awaited."""
        began = time.monotonic()
        done: list[str] = []

        def on_done(name: str, outcome: T | NodeError) -> None:
            keep(name, outcome)
            if not isinstance(outcome, NodeError):
                done.append(name)
            self.progress.done(name, lost=isinstance(outcome, NodeError))

        self.progress.stage(stage, tuple(work))
        try:
            fanout.each(work, width=width, deadline_s=self.wishes.deadline_s(stage), on_done=on_done)
        finally:
            self.stages.append(_stage(stage, began, len(done), len(self.hosts)))
            self.progress.ended("")

    def _set(self, name: str, **fields: object) -> None:
        self.nodes[name] = msgspec.structs.replace(self.nodes[name], **fields)

    def _lose(self, name: str, stage: str, error: NodeError) -> None:
        """A node that stops answering leaves the run; what it told before stays."""
        self.sessions.pop(name).abort()
        summary = f"stopped answering in {stage}: {error.what}"
        self._set(name, reach=Reach(outcome=error.cause, summary=summary, do=error.do))
        lost = [topic for topic in probes.TOPICS if not is_known(self.nodes[name], topic)]
        self._set(name, **roster.not_known([*lost, "left_behind"], f"not measured: {summary}"))

    def _willing(self) -> list[str]:
        """Nodes that may be loaded: reached, not locked by another run, not busy; in an order that every run has."""
        return [name for name in self.hosts if not self._unwilling(name)]

    def _unwilling(self, name: str) -> str:
        if name not in self.sessions:
            return f"not reached: {self.nodes[name].reach.summary}"
        lock = self.sessions[name].hello.lock
        return busy.why_busy(self.nodes[name]) if lock.held else lock.why

    def _keep_output(self, name: str, output: str, size_bytes: int) -> None:
        kept = Evidence(topic="collective", sha256=self.store(output.encode()), size_bytes=size_bytes)
        self._set(name, evidence=(*self.nodes[name].evidence, kept))

    def _keep(self, answers: Sequence[Answer]) -> tuple[Evidence, ...]:
        return tuple(
            Evidence(topic=topic, sha256=self.store(raw), size_bytes=size_bytes)
            for topic, raw, size_bytes in probes.evidence(answers)
        )


def _stage(name: str, began: float, done: int, total: int) -> Stage:
    return Stage(name=name, seconds=round(time.monotonic() - began, 3), nodes_done=done, nodes_total=total)
