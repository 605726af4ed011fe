"""How is this machine reached as a node? The agent as a child process, behind the same Protocol as over SSH."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time

from diag.errors import NodeError
from diag.inventory import Host

KEPT_BYTES = 8192
SEND_LIMIT_S = 10.0
LOOK_S = 0.1
EARLY_BYTES = 1 << 20


class LocalTransport:
    """Starts the agent here, in a session of its own: Ctrl-C in the terminal reaches the controller, not the agent."""

    def open(self, host: Host, argv: tuple[str, ...], timeout_s: float) -> LocalChannel:
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True)
        except OSError as error:
            what = f"{argv[0]} cannot be started here: {error.strerror}"
            option, cause = ("--exec", "container_not_there") if host.exec else ("--python", "python_missing")
            raise NodeError(host.name, cause, what, do=f"name another with {option}") from error
        return LocalChannel(host.name, process, min(timeout_s, SEND_LIMIT_S))


class LocalChannel:
    """The pipes of one child process."""

    address = "127.0.0.1"
    advice: tuple[str, ...] = ()

    def __init__(self, node: str, process: subprocess.Popen[bytes], send_limit_s: float) -> None:
        self._node, self._process, self._send_limit_s = node, process, send_limit_s
        self._streams = [stream for stream in (process.stdin, process.stdout, process.stderr) if stream is not None]
        self._stdin, self._stdout, self._stderr = (stream.fileno() for stream in self._streams)
        self._errors = self._early = b""
        self._closed = threading.Event()
        self._writing, self._reading = threading.Lock(), threading.Lock()
        for stream in self._streams:
            os.set_blocking(stream.fileno(), False)

    def send(self, chunk: bytes) -> None:
        view, until = memoryview(chunk), time.monotonic() + self._send_limit_s
        with self._writing:
            while view:
                if self._closed.is_set():
                    raise self._gone("the connection was dropped")
                try:
                    view = view[os.write(self._stdin, view) :]
                except BlockingIOError:
                    self._take_early()
                    if not _wait({self._stdin}, select.POLLOUT, LOOK_S) and time.monotonic() > until:
                        raise self._gone(f"it takes no input for {self._send_limit_s:g} s") from None
                except OSError as error:
                    raise self._gone("the agent is gone") from error

    def _take_early(self) -> None:
        """A login that prints more than a pipe holds reads nothing until somebody takes it."""
        if len(self._early) < EARLY_BYTES and self._reading.acquire(blocking=False):
            try:
                while _wait({self._stdout}, select.POLLIN, 0) and (chunk := os.read(self._stdout, EARLY_BYTES)):
                    self._early += chunk
            finally:
                self._reading.release()

    def receive(self, limit: int, timeout_s: float) -> bytes | None:
        until = time.monotonic() + timeout_s
        listened_to = {self._stdout, self._stderr}
        with self._reading:
            if self._early:
                early, self._early = self._early, b""
                return early
            while not self._closed.is_set():
                left_s = max(0.0, until - time.monotonic())
                ready = _wait(listened_to, select.POLLIN, min(left_s, LOOK_S))
                if self._stderr in ready and not self._keep_errors():
                    listened_to.discard(self._stderr)
                if self._stdout in ready:
                    return os.read(self._stdout, limit)
                if not left_s:
                    return None
        return b""

    def _keep_errors(self) -> bool:
        chunk = os.read(self._stderr, 65536)
        self._errors = (self._errors + chunk)[-KEPT_BYTES:]
        return bool(chunk)

    def errors(self) -> str:
        with self._reading:
            while not self._closed.is_set() and _wait({self._stderr}, select.POLLIN, 0) and self._keep_errors():
                pass
        return self._errors.decode("utf-8", "replace")

    def exit_status(self, timeout_s: float) -> int | None:
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def beside(self, argv: tuple[str, ...], timeout_s: float) -> None:  # noqa: ARG002 - there is no connection here
        return None

    def close(self) -> None:
        """Whoever still sends or receives lets go first: a descriptor's number may soon be somebody else's."""
        if not self._closed.is_set():
            self._closed.set()
            if self._process.poll() is None:  # an agent cleans up at SIGTERM too; what never became one must not stay
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGTERM)
            threading.Thread(target=self._let_go, daemon=True, name=f"diag leaves {self._node}").start()

    def _let_go(self) -> None:
        """The agent ends when its input does; it is awaited, so that no zombie stays."""
        with self._writing, self._reading:
            for stream in self._streams:
                stream.close()
        self._process.wait()

    def _gone(self, what: str) -> NodeError:
        return NodeError(self._node, "agent_silent", what)


def _wait(fds: set[int], event: int, timeout_s: float) -> set[int]:
    """Those that are ready, or at their end."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, event)
    return {fd for fd, _ in poll.poll(timeout_s * 1000)}
