"""Real jobs for tests: agents on this machine or inside the lab's hosts, their facts, and a job that can be watched."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from diag import probes
from diag.errors import NodeError
from diag.facts.collective import Collective
from diag.facts.node import Agent, Node, Reach
from diag.inventory import Host
from diag.participants import Participants, participants
from diag.remote.collective import sizes_bytes
from diag.remote.job import Job
from diag.remote.local import LocalChannel, LocalTransport
from diag.remote.meeting import meet
from diag.remote.onlookers import Onlooker
from diag.remote.outcome import collective
from diag.remote.session import Session, open_session
from tests.lab.cluster import Lab
from tests.lab.host import ENVIRONMENT
from tests.lab.running import AGENT
from tests.remote.agents import until

MIB = 1024**2


class InsideTransport:
    """Starts the agent inside a host of the lab without SSH: this machine's pipes, the host's everything else."""

    def __init__(self, lab: Lab, environments: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.hosts = {host.name: host for host in lab.hosts}
        self.environments = environments or {}
        self.channels: list[LocalChannel] = []

    def open(self, host: Host, argv: tuple[str, ...], timeout_s: float) -> LocalChannel:
        there = self.hosts[host.name]
        own = self.environments.get(host.name, {})
        environment = (f"{name}={value}" for name, value in {**ENVIRONMENT, **own}.items())
        channel = LocalTransport().open(host, ("env", "-i", *environment, *there.inside(argv)), timeout_s)
        channel.address = there.address
        self.channels.append(channel)
        return channel


@contextmanager
def lab_sessions(lab: Lab, environments: Mapping[str, Mapping[str, str]] | None = None) -> Iterator[dict[str, Session]]:
    """An agent on every host; ended, or dropped where it does not answer, at the end. ``environments``: of some."""
    transport = InsideTransport(lab, environments)
    sessions = {name: open_session(Host(name=name, python=str(lab.python)), transport, 20) for name in lab.names}
    try:
        yield sessions
    finally:
        for session in sessions.values():
            with contextlib.suppress(NodeError):
                session.end(5)
            session.abort()
        assert until(lambda: all(map(has_let_go, transport.channels)), 10), "agents that did not end"


@contextmanager
def frozen_agent(session: Session, lab: Lab) -> Iterator[None]:
    """The agent of a host of ``lab_sessions`` stands still; its ranks do not."""
    host = next(host for host in lab.hosts if host.name == session.host.name)
    assert host.freeze(AGENT) > 0
    try:
        yield
    finally:
        assert isinstance(session.channel, LocalChannel)
        os.kill(session.channel._process.pid, signal.SIGCONT)  # nsenter stops with its child
        host.thaw(AGENT)


def has_let_go(channel: LocalChannel) -> bool:
    return channel.exit_status(0.1) is not None and all(stream.closed for stream in channel._streams)


def facts(sessions: Mapping[str, Session]) -> list[Node]:
    requests = probes.requests_for(model_path=None, names=())
    return [
        Node(
            name=name,
            address=session.channel.address,
            reach=Reach(outcome="answered"),
            agent=Agent(pid=session.hello.pid, python="", executable=session.hello.executable, user=""),
            **probes.facts_from(session.ask(requests, 20)),
        )
        for name, session in sessions.items()
    ]


class Running:
    """A job in a thread of its own: a test plants its fault when a rank has come to a phase."""

    def __init__(
        self,
        sessions: Mapping[str, Session],
        *,
        max_size_bytes: int,
        deadline_s: float = 60,
        ranks: int | None = None,
        program: str = "allreduce",
        watched: Mapping[str, Onlooker] | None = None,
        who: Participants | None = None,
    ) -> None:
        """``ranks``: on each node; ``program``: a module that the nodes find, called as the all-reduce is.

        ``who``: instead of those that the nodes' facts choose.
        """
        self.who = who or participants(facts(sessions), {}, ranks)
        self.port = meet(sessions, self.who.places).port
        self.began = time.monotonic()
        self.job = Job(
            sessions,
            self.who,
            port=self.port,
            sizes_bytes=sizes_bytes(max_size_bytes),
            until=self.began + deadline_s,
            on_done=lambda _: None,
            watched=watched,
            program=(program, ",".join(map(str, sizes_bytes(max_size_bytes)))),
        )
        self.thread = threading.Thread(target=self.job.run, daemon=True)
        self.thread.start()

    def wait_for(self, rank: int, phase: str, within_s: float = 50) -> None:
        assert self._until(lambda: phase in dict(self.job.heard.phases[rank]), within_s), self.job.heard.phases

    def result(self, within_s: float = 60) -> Collective:
        self.thread.join(within_s)
        assert not self.thread.is_alive(), "the job did not end"
        taken_s = time.monotonic() - self.began
        return collective(self.job.heard, rendezvous="", environment=self.job.exported(), blocked=(), taken_s=taken_s)

    def _until(self, true: Callable[[], bool], within_s: float) -> bool:
        end = time.monotonic() + within_s
        while not true() and self.thread.is_alive() and time.monotonic() < end:
            time.sleep(0.02)
        return true()
