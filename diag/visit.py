"""Who is still there, what is known of each, and how does a stage visit all of them? A node that fails keeps its place.

Nothing is lost: what each node told is kept as it comes, what it did not tell has its reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from diag import busy, probes, roster
from diag.errors import NodeError
from diag.facts.node import Evidence, Reach
from diag.facts.record import UNASKED, is_known, peek, unknown
from diag.facts.snapshot import Stage
from diag.inventory import Host
from diag.measuring import CONNECTIONS_AT_ONCE
from diag.probes.verbs import Answer
from diag.remote import fanout
from diag.remote.session import Session
from diag.remote.transport import Transport
from diag.wishes import Wishes

END_S = 5.0

T = TypeVar("T")


class Progress(Protocol):
    """Who watches the run: the live display, or nobody."""

    def stage(self, name: str, nodes: Sequence[str]) -> None: ...
    def done(self, node: str, *, lost: bool = False) -> None: ...
    def ended(self, note: str) -> None: ...


class Visit:
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
        self.stages: list[Stage] = []

    def mark_interrupted(self) -> None:
        for name, node in self.nodes.items():
            open_ = [topic for topic in probes.TOPICS if peek(node, topic) == UNASKED]
            self.set(name, **roster.not_known(open_, "the run was interrupted before"))

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
            self.set(name, left_behind=lines)

    def level_why(self) -> str:
        reasons = {name: busy.why_busy(self.nodes[name], self.wishes.permitted) for name in self.sessions}
        return "; ".join(f"{name}: {why}" for name, why in reasons.items() if why)

    def visit_all(
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
            self.ended(stage, began, len(done))

    def ended(self, stage: str, began: float, done: int, note: str = "") -> None:
        """``began``: by ``time.monotonic``; ``done``: on how many nodes it came to its end."""
        took_s = round(time.monotonic() - began, 3)
        self.stages.append(Stage(name=stage, seconds=took_s, nodes_done=done, nodes_total=len(self.hosts)))
        self.progress.ended(note)

    def set(self, name: str, **fields: object) -> None:
        self.nodes[name] = msgspec.structs.replace(self.nodes[name], **fields)

    def lose(self, name: str, stage: str, error: NodeError) -> None:
        """A node that stops answering leaves the run; what it told before stays."""
        self.sessions.pop(name).abort()
        summary = f"stopped answering in {stage}: {error.what}"
        self.set(name, reach=Reach(outcome=error.cause, summary=summary, do=error.do))
        lost = [topic for topic in probes.TOPICS if not is_known(self.nodes[name], topic)]
        self.set(name, **roster.not_known([*lost, "left_behind"], f"not measured: {summary}"))

    def unwilling(self, name: str) -> str:
        """Why a node may not be loaded: not reached, locked by another run, busy; empty: it may."""
        if name not in self.sessions:
            return f"not reached: {self.nodes[name].reach.summary}"
        lock, node = self.sessions[name].lock, self.nodes[name]
        if not lock.held:
            return f"the same machine as {holder}" if (holder := self.holder(name)) else lock.why
        return busy.why_busy(node, self.wishes.permitted) or busy.why_stopped(node)

    def holder(self, name: str) -> str:
        """Another node of this run whose agent holds the lock that this one's did not get; empty: somebody else."""
        token = self.sessions[name].lock.token
        return next((other for other, session in self.sessions.items() if token and session.token == token), "")

    def meet(self) -> None:
        """Several names of one machine are told on each of its names; several containers of one are several nodes."""
        machines: dict[str, list[str]] = {}
        for name in [name for name, session in self.sessions.items() if session.token == session.hello.token]:
            machines.setdefault(self.holder(name) or name, []).append(name)
        for names in machines.values():
            for name in names if len(names) > 1 else ():
                others = tuple(sorted(set(names) - {name}))
                agent = msgspec.structs.replace(self.nodes[name].agent, same_machine_as=others)
                self.set(name, agent=agent)

    def keep_output(self, name: str, output: str, size_bytes: int, topic: str = "collective") -> None:
        kept = Evidence(topic=topic, sha256=self.store(output.encode()), size_bytes=size_bytes)
        self.set(name, evidence=(*self.nodes[name].evidence, kept))

    def keep_answers(self, answers: Sequence[Answer]) -> tuple[Evidence, ...]:
        return tuple(
            Evidence(topic=topic, sha256=self.store(raw), size_bytes=size_bytes)
            for topic, raw, size_bytes in probes.evidence(answers)
        )
