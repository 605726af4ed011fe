"""How does a node's second agent come into the container in which the engine runs, and how does it end?

The agent on the host comes first: it looks for the container, and at its end it removes whatever is left of the second.
That one is nobody's child here: the processes of ``exec`` survive the client that asked for them, and a container
survives whoever started it. They belong to a daemon, and carry the token of the host's agent.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from diag.errors import NodeError
from diag.facts.inside import Inside
from diag.facts.record import unknown
from diag.inventory import Host
from diag.remote import container_choice, heartbeat, payload, runtimes, silence
from diag.remote.container_choice import NO_PLACE, Choice
from diag.remote.session import LockState, Session, open_session
from diag.remote.transport import Channel, Transport

PYTHON = "python3"
END_S = 3.0
GOODBYE_SHARE = 0.5
"""Of the time for the end: what the inner agent may take of it."""
FIRST_LOOKS = 3
"""Until the container has spoken, the daemon may still be making it when its client is dead."""
LIMITS = re.compile("rlimit|ulimit", re.IGNORECASE)
USAGE = re.compile(r"^(See|Run) '.*--help'.*$", re.MULTILINE)
ABSENT = re.compile(r"executable file not found|no such file or directory|not found in \$PATH", re.IGNORECASE)
TOOLKIT = re.compile(
    r"could not select device driver|nvidia-container|unresolvable CDI|CDI device injection", re.IGNORECASE
)


def open_node(host: Host, transport: Transport, deadline_s: float, model_path: str | None = None) -> Session:
    """The session with the agent where the engine runs. Raises NodeError with the cause that stopped it."""
    if not (host.image or host.container):
        return open_session(host, transport, deadline_s)
    until = time.monotonic() + deadline_s
    outer = open_session(_without_the_engines(host), transport, deadline_s)
    try:
        choice = container_choice.find(
            host, model_path, lambda requests: outer.ask(requests, max(1.0, until - time.monotonic()))
        )
        return _enter(host, transport, outer, choice, until)
    except BaseException:
        with contextlib.suppress(NodeError):
            outer.end(END_S)
        outer.abort()
        raise


def _without_the_engines(host: Host) -> Host:
    """Interpreter and environment are the engine's: inside."""
    return msgspec.structs.replace(host, python=None, env=())


class _Attempt(NamedTuple):
    """``argv`` goes before the interpreter's own arguments; ``without``: what it does not hand in, each with why."""

    argv: tuple[str, ...]
    without: tuple[str, ...] = ()


def _attempts(host: Host, choice: Choice, outer: Session) -> tuple[_Attempt, ...]:
    """The second where a daemon may not raise limits either (without root, or inside another container)."""
    if host.container:
        return (_Attempt((*runtimes.entered(choice.runtime, host, outer.hello.token), host.python or PYTHON)),)
    python = host.python or PYTHON
    argv, without = runtimes.started(choice.runtime, host, outer.hello, choice.there, python)
    modest, _ = runtimes.started(choice.runtime, host, outer.hello, choice.there, python, raised=False)
    return _Attempt(argv, without), _Attempt(modest, (*without, f"raised limits: {choice.runtime.name} may not"))


def _enter(host: Host, transport: Transport, outer: Session, choice: Choice, until: float) -> InnerSession:
    guard, settled = _guards(host, choice, outer.hello.token)
    *others, last = _attempts(host, choice, outer)
    for attempt in (*others, last):
        outer.guard((guard,))
        left_s = max(1.0, until - time.monotonic())
        client = ("env", f"{runtimes.MARK}={outer.hello.token}.client", *attempt.argv, *payload.arguments())
        channel = outer.channel.beside(client, left_s) or transport.open(_without_the_engines(host), client, left_s)
        session = InnerSession(host, channel, outer, _inside(host, choice, attempt), settled)
        try:
            session.start(payload.payload(), until)
        except NodeError as error:
            why = session.why_silent(host.python or PYTHON, left_s)
            if attempt is last or not LIMITS.search(session.last_words):
                raise why from error
        else:
            heartbeat.beat(session)
            return session
    raise AssertionError("the last attempt returns or raises")


def _inside(host: Host, choice: Choice, attempt: _Attempt) -> Inside:
    name = choice.runtime.name
    return Inside(
        runtime=name,
        container=host.container,
        image=choice.image or unknown(f"{name} does not say"),
        image_id=choice.image_id or unknown(f"{name} does not say"),
        command=runtimes.shown(attempt.argv),
        without=attempt.without,
    )


def _guards(host: Host, choice: Choice, token: str) -> tuple[runtimes.Guard, tuple[runtimes.Guard, ...]]:
    """Until the inner agent has said goodbye, and then: its container may need a moment to vanish."""
    if host.image:
        first = runtimes.guard_of_started(choice.runtime, host, token, FIRST_LOOKS)
        return first, (runtimes.guard_of_started(choice.runtime, host, token, 1),)
    sweep = payload.text_of("sweep.py")
    return runtimes.guard_of_entered(choice.runtime, host, token, host.python or PYTHON, sweep), ()


class InnerSession(Session):
    """The conversation with the agent inside; ``outer`` is that with the one on the host, and ends after it."""

    def __init__(
        self, host: Host, channel: Channel, outer: Session, inside: Inside, settled: Sequence[runtimes.Guard]
    ) -> None:
        super().__init__(host, channel)
        self.outer: Session = outer
        self.inside: Inside = inside
        self._settled = settled
        self.last_words = ""

    @property
    def lock(self) -> LockState:
        """The node's, not that of the container's own /tmp."""
        return self.outer.hello.lock

    @property
    def token(self) -> str:
        return self.outer.hello.token

    @property
    def login_noise_bytes(self) -> int:
        return self.outer.login_noise_bytes

    def end(self, deadline_s: float) -> tuple[str, ...]:
        """First inside, then outside; what says no goodbye inside is killed from there, which has the last word."""
        until = time.monotonic() + deadline_s
        left: tuple[str, ...] = ()
        try:
            left = self.say_goodbye(deadline_s * GOODBYE_SHARE)
            self.outer.guard(self._settled)
        except NodeError:
            pass  # the outer agent still guards it
        finally:
            self.drop()
        return (*left, *self.outer.end(max(1.0, until - time.monotonic())))

    def abort(self) -> None:
        self.drop()
        self.outer.abort()

    def why_silent(self, python: str, deadline_s: float) -> NodeError:
        """As a line about the container: what its runtime said last, and what to do about that."""
        ended = self.await_end()
        words = self.last_words = f"{self.noise}\n{self.channel.errors()}"
        place = f"container {self.host.container}" if self.host.container else f"image {self.host.image}"
        last = silence.last_line(USAGE.sub("", words))
        self.drop()
        if ended:
            with contextlib.suppress(NodeError):
                self.outer.guard(self._settled)
        if silence.TOO_OLD in words:
            found = words.partition(silence.TOO_OLD)[2].splitlines()[0]
            what = f"Python in {place} is too old: {found}"
            return NodeError(self.host.name, "python_missing", what, do=silence.OTHER)
        if ABSENT.search(words) and python in words:
            return NodeError(self.host.name, "python_missing", f"no {python} in {place}", do=silence.OTHER)
        if TOOLKIT.search(words):
            what = f"{place} cannot be given the GPUs: {last}"
            do = "install and configure nvidia-container-toolkit there (nvidia-ctk runtime configure)"
            return NodeError(self.host.name, "container_gpu_runtime_missing", what, do=do)
        if ended:
            return NodeError(
                self.host.name, NO_PLACE, f"{place} lets no agent run: {last or 'it ended without a word'}"
            )
        return NodeError(self.host.name, "agent_silent", f"no agent spoke in {place} within {deadline_s:g} s: {last}")
