"""Probes × nodes -> Snapshot: what is done on which nodes, in which order, and until when?

Five stages, each on the nodes still there, each with a deadline: reach, facts, measure, links, collectives. A node that
fails keeps its place in the Snapshot with the reason; nothing is lost when the run is interrupted.
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

from diag import __version__, busy, columns, measuring, probes, roster, sweeping
from diag.columns import Asked
from diag.errors import NodeError
from diag.facts.collective import Collective
from diag.facts.links import Links
from diag.facts.network import Resolution
from diag.facts.node import Evidence, Reach
from diag.facts.record import UNASKED, Known, NotMeasured, is_known, peek, unknown
from diag.facts.snapshot import SCHEMA, Controller, Snapshot, Stage
from diag.inventory import Host
from diag.measuring import CONNECTIONS_AT_ONCE
from diag.probes.verbs import Answer
from diag.remote import collective, fanout
from diag.remote.inside import open_node
from diag.remote.session import Session
from diag.remote.transport import Transport
from diag.wishes import Wishes

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
            for stage in (run.reach, run.facts, run.measure, run.links, run.collectives):
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
        links=run.known_links,
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
        self.known_links: Known[Links] = unknown("the run ended before the links were measured")
        self.collective: Known[Collective] = unknown("the run ended before the collectives")
        self.stages: list[Stage] = []

    def reach(self) -> None:
        deadline_s = self.wishes.deadline_s("reach") - REPORT_S  # so that each says itself what it hung in

        def visit(host: Host) -> Callable[[], Session]:
            return lambda: open_node(host, self.transports[host.transport], deadline_s, self.wishes.model_path)

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

        def ask(session: Session) -> Callable[[], Asked]:
            return lambda: columns.ask(session, requests, deadline_s)

        resolved: dict[str, tuple[Answer, ...]] = {}

        def keep(name: str, outcome: Asked | NodeError) -> None:
            if isinstance(outcome, NodeError):
                self._lose(name, "facts", outcome)
                return
            resolved[name] = outcome.answers
            self._set(name, **columns.fields(self.nodes[name], outcome, self._keep))

        try:
            self._stage("facts", {name: ask(session) for name, session in self.sessions.items()}, keep)
        finally:
            self.resolutions = probes.fold_resolutions(resolved)

    def measure(self) -> None:
        """How fast the model's files are read; then how fast the GPUs are, each node for itself."""
        for work in (measuring.read_speeds, measuring.speeds, measuring.ladders):
            sessions = {name: self.sessions[name] for name in self.hosts if name in self.sessions}
            scene = measuring.Scene(nodes=self.nodes, sessions=sessions, unwilling=self._unwilling, wishes=self.wishes)
            self._measure(work(scene))

    def _measure(self, work: measuring.Work) -> None:
        for name, why in work.left_out.items():
            self._set(name, **{work.field: unknown(why)})

        def keep(name: str, outcome: object) -> None:
            if isinstance(outcome, NodeError):
                self._lose(name, work.stage, outcome)
            else:
                self._set(name, **{work.field: outcome})

        if work.calls or work.always:
            self._stage(work.stage, work.calls, keep, width=work.at_once)

    def links(self) -> None:
        """Of several nodes: what passes between them, before any rank could hang in it."""
        why_not = "level passive loads no link" if self.wishes.level == "passive" else ""
        why_not = why_not or ("--pairs none" if self.wishes.pairs == "none" else "")
        if len(self.hosts) < 2:  # noqa: PLR2004 - a link has two ends
            why_not = "one node: it has no link to another"
        if why_not:
            self.known_links = unknown(why_not)
            return
        began, willing = time.monotonic(), self._willing()
        self.progress.stage("links", willing)
        order = sweeping.Order(
            mode=self.wishes.pairs,
            level=self.wishes.level,
            until=began + self.wishes.deadline_s("links"),
            max_pairs=self.wishes.max_pairs,
            on_done=self.progress.done,
        )
        note, done = "", 0
        try:
            sweep = sweeping.Sweep(self.sessions, [self.nodes[name] for name in willing], order)
            try:
                sweep.run()
            finally:
                self.known_links, done, note = sweep.known(), len(sweep.places), sweep.note()
            for name, error in sweep.lost.items():
                self._lose(name, "links", error)
        except NotMeasured as why:
            self.known_links, note = unknown(str(why)), f"not measured: {why}"
        finally:
            self.stages.append(_stage("links", began, done, len(self.hosts)))
            self.progress.ended(note)

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
        reasons = {name: busy.why_busy(self.nodes[name], self.wishes.permitted) for name in self.sessions}
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
        lock, node = self.sessions[name].lock, self.nodes[name]
        return (busy.why_busy(node, self.wishes.permitted) or busy.why_stopped(node)) if lock.held else lock.why

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
