"""How is perftest run on two nodes, so that both ends are ended whatever happens?

The server is started first, the client once it listens; when one end has ended the other has a moment to follow, then
it is ended too. Several faults make perftest wait for ever without a word (a dead link, RoCE's UDP port filtered,
another tool at the other end): both ends are jobs of their agents, which end them at the deadline by themselves.
Several runs may be at work on a node, each over a device of its own.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec

from diag.errors import NodeError
from diag.facts.record import NotMeasured
from diag.probes.perftest import Side, Trial, argv
from diag.probes.perftest_failures import Ended
from diag.probes.verbs import Answer, Ask, Request
from diag.remote.session import JobEnd, Session

RUN_S = 15.0
"""One run at most, beside its own seconds: addresses are exchanged and memory is registered."""
FOLLOW_S = 2.0
"""Within this of one end's the other comes to its own: each prints the table."""
LISTEN_S, LOOK_S = 6.0, 0.5
ASK_S = 5.0
ENVIRONMENT: Mapping[str, str] = {"LC_ALL": "C"}
NEAR = ("{python}", "-c", "import sys; sys.path.insert(0, sys.argv.pop(1)); import near; near.main()", "{pyz}")
"""What brings a program to the CPUs of a device, whose name and the program's words follow."""
PORT_TRIES = 8
_TAKEN: set[tuple[str, int]] = set()
_TAKING = threading.Lock()


class Party(msgspec.Struct, frozen=True, kw_only=True):
    """One end. ``address``: where the others reach its node. ``why_ended``: why nothing is to run there any more."""

    node: str
    session: Session
    address: str
    side: Side
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)
    why_ended: Callable[[], str] = lambda: ""


def run(test: Trial, client: Party, server: Party, seconds: float) -> tuple[Ended, Ended]:
    """Client and server, both ended within ``seconds`` and a moment. Raises NodeError where an agent is silent."""
    until = time.monotonic() + seconds
    with _port(server) as port:
        return _over(port, test, client, server, seconds, until)


@contextlib.contextmanager
def _port(server: Party) -> Iterator[int]:
    """A free one that no run beside this one was given. Raises NotMeasured."""
    for _ in range(PORT_TRIES):
        port = _ask(server.session, "dials:free_port", address=server.address).decode(int)
        with _TAKING:
            if taken := (server.node, port) not in _TAKEN:
                _TAKEN.add((server.node, port))
        if taken:
            break
    else:
        raise NotMeasured(f"{server.node} has no free port")
    try:
        yield port
    finally:
        with _TAKING:
            _TAKEN.discard((server.node, port))


def _over(  # noqa: PLR0917
    port: int, test: Trial, client: Party, server: Party, seconds: float, until: float
) -> tuple[Ended, Ended]:
    listening = _Job(test, server, port, seconds)
    dialling: _Job | None = None
    try:
        if _listens(listening, port, until) and not client.why_ended():
            dialling = _Job(test, client, port, seconds, at=server.address)
            _await(listening, dialling, until)
    finally:
        for job in (dialling, listening):
            if job is not None:
                job.end()
    waited = Ended(node=client.node, status=None, text=f"{server.node} did not listen at port {port}")
    return (waited if dialling is None else dialling.ended()), listening.ended()


class _Job:
    """One end, in a thread of its own."""

    def __init__(self, test: Trial, party: Party, port: int, seconds: float, at: str | None = None) -> None:
        self.party, self.over = party, threading.Event()
        self.result: JobEnd | NodeError | None = None
        words = argv(test, msgspec.structs.replace(party.side, exchange_port=port), at)
        self._argv = (*NEAR, party.side.device, *words)
        self._number: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._seconds = seconds
        self._thread = threading.Thread(target=self._work, daemon=True, name=f"diag {test.tool} {party.node}")
        self._thread.start()

    def _work(self) -> None:
        try:
            self.result = self.party.session.job(
                self._argv,
                {**ENVIRONMENT, **self.party.environment},
                self._seconds,
                lambda _: None,
                on_start=self._number.put,
            )
        except NodeError as error:
            self.result = error
        finally:
            self.over.set()

    def end(self) -> None:
        if not self.over.is_set():
            with contextlib.suppress(NodeError, queue.Empty):
                self.party.session.stop_job(self._number.get(timeout=FOLLOW_S))
        self._thread.join(RUN_S)

    def ended(self) -> Ended:
        end = self.result
        if isinstance(end, NodeError):
            raise end
        if end is None:
            raise NodeError(self.party.node, "agent_silent", "it did not say that the job ended")
        return Ended(node=self.party.node, status=end.status, text=end.output, timed_out=end.timed_out)


def _listens(server: _Job, port: int, until: float) -> bool:
    """Whether it does, within LISTEN_S; it may end before with a word of its own."""
    until = min(until, time.monotonic() + LISTEN_S)
    while not server.over.is_set() and time.monotonic() < until:
        with contextlib.suppress(NotMeasured):
            if _ask(server.party.session, "ports:listening", port=port, seconds=LOOK_S).decode(bool):
                return True
    return False


def _await(server: _Job, client: _Job, until: float) -> None:
    """Until both ended, or one did and the other did not follow, or somebody needs what one of them uses."""
    first: float | None = None
    until += FOLLOW_S
    while time.monotonic() < (until if first is None else min(until, first + FOLLOW_S)):
        open_ = [job for job in (server, client) if not job.over.is_set()]
        if not open_ or any(job.party.why_ended() for job in (server, client)):
            return
        if len(open_) == 1:
            first = first or time.monotonic()
        open_[-1].over.wait(LOOK_S / 5)


def _ask(session: Session, function: str, **arguments: object) -> Answer:
    request = Request(name=function, verb=Ask(function, arguments), deadline_s=ASK_S)
    return session.ask([request], ASK_S + 1)[0]
