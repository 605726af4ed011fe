"""What can be said to a node's agent, and what does it answer? One Session per node for the whole run."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from diag.errors import NodeError
from diag.inventory import Host
from diag.probes.verbs import Answer, Request
from diag.remote import heartbeat, payload, silence
from diag.remote.frames import NotAFrame, Reader, frame
from diag.remote.transport import Channel, Transport

CHUNK_BYTES = 1 << 18
LOOK_S = 0.5
JOB_GRACE_S = 10.0


class LockState(msgspec.Struct, frozen=True, kw_only=True):
    """Does this run hold the node's lock? If not: who does, and ``why`` in one line."""

    held: bool
    pid: int | None = None
    started: float | None = None
    user: str | None = None
    token: str = ""
    """Of the agent that holds it."""
    why: str = ""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent says first. ``time`` is the node's clock at that moment."""

    pid: int
    python: str
    executable: str
    user: str
    hostname: str
    time: float
    lock: LockState
    token: str = ""
    """Names this agent in the environment of all that is started for it."""


class JobEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended: by ``status`` or ``signal``; neither when it could not be ended. ``output``: its last 64 KiB.

    Of ``output_bytes`` that were written; what announces itself as a secret is masked.
    """

    status: int | None
    signal: int | None
    output: str
    output_bytes: int = 0
    seconds: float
    left_behind: tuple[str, ...] = ()
    timed_out: bool = False


def open_session(host: Host, transport: Transport, deadline_s: float) -> Session:
    """Connect, start the agent, await its hello. Raises NodeError with the cause that stopped it."""
    until = time.monotonic() + deadline_s
    python = host.python or (sys.executable if host.transport == "local" else "python3")
    channel = transport.open(host, payload.command(host, python), deadline_s)
    session = Session(host, channel)
    try:
        session.start(payload.payload(), until)
    except NodeError as error:
        raise session.why_silent(python, deadline_s) from error
    except BaseException:
        session.abort()
        raise
    heartbeat.beat(session)
    return session


class Session:
    """The conversation with one agent. Calls may come from several threads; each waits for its own answer."""

    hello: Hello

    def __init__(self, host: Host, channel: Channel) -> None:
        self.host, self.channel = host, channel
        self._reader = Reader()
        self._numbers = itertools.count(1)
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._arrived = threading.Condition()
        self._inbox: dict[Any, list[dict[str, Any]]] = {}
        self._jobs: set[int] = set()
        self._over = ""

    @property
    def lock(self) -> LockState:
        return self.hello.lock

    @property
    def token(self) -> str:
        """As it stands in the node's lock where this agent holds it."""
        return self.hello.token

    @property
    def login_noise_bytes(self) -> int:
        """How much the login shell printed before the agent spoke."""
        return self._reader.noise_bytes

    @property
    def noise(self) -> str:
        """The last that came before the agent's first word."""
        return self._reader.last_noise()

    def ask(self, requests: Sequence[Request], deadline_s: float) -> tuple[Answer, ...]:
        """All requests in one frame; one Answer each, in their order. Past the deadline: NodeError(agent_silent)."""
        on_node_s = max(deadline_s / 2, deadline_s - 1.0)
        number = self._say({"do": "answer", "requests": list(requests), "deadline_s": on_node_s})
        return msgspec.convert(self._await(number, deadline_s)["answers"], tuple[Answer, ...])

    def clock(self, samples: int = 5, deadline_s: float = 5.0) -> tuple[float, float]:
        """The node's clock minus ours, and how far that may be off: half of the shortest round trip."""
        best: tuple[float, float] | None = None
        for _ in range(samples):
            sent, began = time.time(), time.monotonic()
            there = float(self._await(self._say({"do": "clock"}), deadline_s)["time"])
            half_s = (time.monotonic() - began) / 2
            if best is None or half_s < best[1]:
                best = (there - (sent + half_s), half_s)
        assert best is not None, "at least one sample"
        return best

    def job(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        deadline_s: float,
        on_line: Callable[[Mapping[str, Any]], None],
        cwd: str | None = None,
        *,
        on_start: Callable[[int], None] = lambda _: None,
    ) -> JobEnd:
        """Run ``argv`` until its end or deadline, then end all that it started; ``on_line`` gets its ``@diag`` lines.

        ``on_start`` gets the job's number, by which ``stop_job`` ends this one alone.
        Raises NodeError(agent_silent) when the node does not even say that it ended the job.
        """
        number = self._say({"do": "job", "argv": list(argv), "env": dict(env), "cwd": cwd, "deadline_s": deadline_s})
        self._jobs.add(number)
        on_start(number)
        try:
            until = time.monotonic() + deadline_s + JOB_GRACE_S
            while True:
                message = self._await(number, until - time.monotonic(), said_s=deadline_s + JOB_GRACE_S)
                if message["event"] == "exit":
                    return msgspec.convert(message, JobEnd)
                on_line(message["line"])
        except BaseException:
            with contextlib.suppress(NodeError):
                self._send({"do": "stop", "job": number})
            raise
        finally:
            self._jobs.discard(number)

    def stop_jobs(self) -> None:
        """End the node's jobs now; whoever waits in ``job`` gets its JobEnd. May be called from another thread."""
        for number in tuple(self._jobs):
            self.stop_job(number)

    def stop_job(self, number: int) -> None:
        """The same of one job; those beside it go on."""
        self._send({"do": "stop", "job": number})

    def guard(self, guards: Sequence[msgspec.Struct], deadline_s: float = 5.0) -> None:
        """From now on the agent removes these at its end, however that comes (``guards`` of diag/node)."""
        self._await(self._say({"do": "guard", "guards": msgspec.to_builtins(guards)}), deadline_s)

    def end(self, deadline_s: float) -> tuple[str, ...]:
        """Let the agent clean up and end; a line for each thing that it had to leave behind."""
        try:
            return self.say_goodbye(deadline_s)
        finally:
            self.abort()

    def say_goodbye(self, deadline_s: float) -> tuple[str, ...]:
        self._send({"do": "end"})
        goodbye = self._await("goodbye", deadline_s)["goodbye"]
        self.channel.exit_status(min(1.0, deadline_s))
        return tuple(goodbye["left_behind"])

    def abort(self) -> None:
        """Drop the connection; the agent notices and cleans up by itself."""
        self.drop()

    def drop(self) -> None:
        heartbeat.stop(self)
        self._over = self._over or "the connection was dropped"
        self.channel.close()

    def send_alive(self) -> None:
        """Renew the lease; skipped while something else is being sent, which renews it as well."""
        if self._sending.acquire(blocking=False):
            try:
                self.channel.send(frame({"do": "alive"}))
            except Exception as error:  # noqa: BLE001 - one connection's surprise must not cost the others their lease
                self._over = self._over or (error.what if isinstance(error, NodeError) else repr(error))
            finally:
                self._sending.release()

    def start(self, code: bytes, until: float) -> None:
        """Send the agent's code and await its hello. Raises NodeError."""
        self.channel.send(code)
        self.hello = msgspec.convert(self._await("hello", until - time.monotonic())["hello"], Hello)

    def why_silent(self, python: str, deadline_s: float) -> NodeError:
        """Why no agent spoke, from what the command left behind; drops the connection."""
        command, ended = " ".join((*self.host.exec, python)), self.await_end()
        error = silence.explain(self.host, command, self.channel, self._reader, ended=ended, deadline_s=deadline_s)
        self.abort()
        return error

    def await_end(self) -> bool:
        """Whether the command ended, or does so in a moment."""
        until = time.monotonic() + LOOK_S
        while not self._over and time.monotonic() < until:
            self._pump(LOOK_S)
        return bool(self._over)

    # -- frames

    def _say(self, message: dict[str, Any]) -> int:
        number = next(self._numbers)
        self._send({"id": number, **message})
        return number

    def _send(self, message: dict[str, Any]) -> None:
        if self._over:
            raise self._silent(self._over)
        with self._sending:
            self.channel.send(frame(message))

    def _await(self, key: Any, timeout_s: float, said_s: float | None = None) -> dict[str, Any]:
        """The next message for ``key``. Whoever waits first reads for all."""
        until = time.monotonic() + timeout_s
        while True:
            with self._arrived:
                if self._inbox.get(key):
                    return self._take(key)
            if self._over:
                raise self._silent(self._over)
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise self._silent(f"no answer within {timeout_s if said_s is None else said_s:g} s")
            self._pump(min(left_s, LOOK_S))

    def _take(self, key: Any) -> dict[str, Any]:
        message = self._inbox[key].pop(0)
        if not self._inbox[key]:
            del self._inbox[key]
        if "error" in message:
            raise self._silent(f"the agent could not do it: {message['error']}")
        return message

    def _pump(self, timeout_s: float) -> None:
        """Read once and sort what came, or wait while another thread does."""
        with self._arrived:
            if not self._receiving.acquire(blocking=False):
                self._arrived.wait(timeout_s)
                return
        try:
            self._sort(self.channel.receive(CHUNK_BYTES, timeout_s))
        finally:
            with self._arrived:
                self._receiving.release()
                self._arrived.notify_all()

    def _sort(self, chunk: bytes | None) -> None:
        if chunk == b"":
            last = silence.last_line(self.channel.errors())
            self._over = self._over or (f"the agent ended: {last}" if last else "the agent ended")
        try:
            messages = self._reader.feed(chunk) if chunk else []
        except NotAFrame as error:
            self._over = f"something else writes into the agent's answers: {error}"
            return
        with self._arrived:
            for message in messages:
                key = message.get("id") or next(iter(message))
                self._inbox.setdefault(key, []).append(message)

    def _silent(self, what: str) -> NodeError:
        return NodeError(self.host.name, "agent_silent", what)
