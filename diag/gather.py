"""Probes × nodes -> Snapshot: what is done on which nodes, in which order, and until when?

Its stages, each on the nodes still there, each with a deadline: reach, facts, measure, links, collectives, and a retry
where somebody was at fault. A node that fails keeps its place in the Snapshot with the reason; nothing is lost when the
run is interrupted.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from typing import Any

from diag import __version__, collecting, columns, measuring, probes, roster
from diag.columns import Asked
from diag.errors import NodeError
from diag.facts.collective import Collective
from diag.facts.links import Links
from diag.facts.network import Resolution
from diag.facts.record import Known, NotMeasured, unknown
from diag.facts.snapshot import SCHEMA, Controller, Snapshot
from diag.inventory import Host
from diag.probes import increases
from diag.probes.verbs import Answer
from diag.remote import nic_counters
from diag.remote.inside import open_node
from diag.remote.session import Session
from diag.remote.transport import Transport
from diag.visit import Progress, Visit
from diag.wishes import Wishes

REPORT_S = 0.3
"""How much sooner than its stage a connection gives up."""


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
            for stage in run.stages_in_order():
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
        gloo=run.gloo,
        without=run.without,
        stages=tuple(run.stages),
        interrupted=interrupted,
    )


class _Run(Visit):
    """What is known so far: it grows stage by stage, and an interrupt leaves it as it is."""

    resolutions: Known[tuple[Resolution, ...]] = unknown("no node was asked")
    known_links: Known[Links] = unknown("the run ended before the links were measured")
    collective: Known[Collective] = unknown("the run ended before the collectives")
    gloo: Known[Collective | None] = unknown("the run ended before the collectives")
    without: Known[Collective | None] = unknown("the run ended before the collectives")
    counted: Mapping[str, increases.Reading] = {}

    def stages_in_order(self) -> tuple[Callable[[], None], ...]:
        return (
            self.reach, self.facts, self.measure, self.count, self.links, self.collectives, self.survivors,
            self.recount,
        )  # fmt: skip

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

        self.visit_all("reach", {name: visit(host) for name, host in self.hosts.items()}, keep)
        self.meet()

    def facts(self) -> None:
        deadline_s = self.wishes.deadline_s("facts")
        names = tuple(sorted({*self.hosts, *(session.hello.hostname for session in self.sessions.values())}))
        requests = probes.requests_for(model_path=self.wishes.model_path, names=names)

        def ask(session: Session) -> Callable[[], Asked]:
            return lambda: columns.ask(session, requests, deadline_s)

        resolved: dict[str, tuple[Answer, ...]] = {}

        def keep(name: str, outcome: Asked | NodeError) -> None:
            if isinstance(outcome, NodeError):
                self.lose(name, "facts", outcome)
                return
            resolved[name] = outcome.answers
            self.set(name, **columns.fields(self.nodes[name], outcome, self.keep_answers))

        try:
            self.visit_all("facts", {name: ask(session) for name, session in self.sessions.items()}, keep)
        finally:
            self.resolutions = probes.fold_resolutions(resolved)

    def measure(self) -> None:
        """How fast the model's files are read; then how fast the GPUs are, each node for itself."""
        for work in (measuring.read_speeds, measuring.speeds, measuring.ladders):
            sessions = {name: self.sessions[name] for name in self.hosts if name in self.sessions}
            scene = measuring.Scene(
                nodes=self.nodes,
                sessions=sessions,
                unwilling=self.unwilling,
                wishes=self.wishes,
                keep=lambda name, topic, raw: self.keep_output(name, raw, len(raw.encode()), topic),
            )
            self._measure(work(scene))

    def _measure(self, work: measuring.Work) -> None:
        for name, why in work.left_out.items():
            self.set(name, **{work.field: unknown(why)})

        def keep(name: str, outcome: object) -> None:
            if isinstance(outcome, NodeError):
                self.lose(name, work.stage, outcome)
            else:
                self.set(name, **{work.field: outcome})

        if work.calls or work.always:
            self.visit_all(work.stage, work.calls, keep, width=work.at_once)

    def count(self) -> None:
        """What the NICs count now, before anything of ours passes them."""
        if self.wishes.level != "passive":
            self.counted = nic_counters.read(self.sessions, dict.fromkeys(self.sessions))[0]

    def links(self) -> None:
        """Of several nodes: what passes between them, before any rank could hang in it."""
        work = collecting.links(self._scene())
        try:
            self.known_links = self._together(work)
        except KeyboardInterrupt:
            self.known_links = work.so_far()
            raise

    def collectives(self) -> None:
        self.collective, work = unknown("the run was interrupted before the all-reduce ended"), self._scene()
        self.collective = collecting.excused(self._together(collecting.first(work, self.known_links)), self.wishes)
        self.gloo, work = unknown("the run was interrupted before it ended"), self._scene()
        self.gloo = self._together(collecting.gloo(work, self.collective))

    def survivors(self) -> None:
        """The all-reduce once more without the nodes at fault; no stage where nobody is."""
        self.without, work = unknown("the run was interrupted before it ended"), self._scene()
        self.without = self._together(collecting.again(work, self.collective))

    def recount(self) -> None:
        why_not = "level passive passes nothing through the NICs"
        again = nic_counters.read(self.sessions, dict.fromkeys(self.counted))[0] if self.counted else {}
        for name in self.sessions:
            if name in again:
                self.set(name, increases=increases.between(self.counted[name], again[name], "links and collectives"))
            else:
                self.set(name, increases=unknown(why_not if not self.counted else "its NICs did not tell"))

    def _scene(self) -> collecting.Scene:
        reasons = {name: self.unwilling(name) for name in self.hosts}
        willing = [name for name, why in reasons.items() if not why]
        return collecting.Scene(
            nodes={name: self.nodes[name] for name in willing},
            sessions={name: self.sessions[name] for name in willing},
            excluded={name: why for name, why in reasons.items() if why},
            wishes=self.wishes,
        )

    def _together(self, work: collecting.Work) -> Any:
        if work.call is None:
            return work.answer
        done, note, began = 0, "interrupted", time.monotonic()
        self.progress.stage(work.stage, work.nodes)
        try:
            found = work.call(
                on_done=self.progress.done,
                keep=self.keep_output,
                lose=lambda name, error: self.lose(name, work.stage, error),
            )
            done, note = len(found.nodes_through), found.summary
        except NotMeasured as why:
            note = f"not measured: {why}"
            return unknown(str(why))
        finally:
            self.ended(work.stage, began, done, note)
        return found
