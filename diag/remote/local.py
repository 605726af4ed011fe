"""How is this machine reached as a node? The agent as a child process, behind the same Protocol as over SSH."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
import time

from diag.errors import NodeError
from diag.inventory import Host

KEPT_BYTES = 8192
SEND_LIMIT_S = 10.0


class LocalTransport:
    """Starts the agent here, in a session of its own: Ctrl-C in the terminal reaches the controller, not the agent."""

    def open(self, host: Host, argv: tuple[str, ...], timeout_s: float) -> LocalChannel:  # noqa: ARG002 - starting does not wait
        pipe = subprocess.PIPE
        try:
            process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, start_new_session=True)
        except OSError as error:
            what = f"{argv[0]} cannot be started here: {error.strerror}"
            raise NodeError(host.name, "python_missing", what, do="name another with --python") from error
        return LocalChannel(host.name, process)


class LocalChannel:
    """The pipes of one child process."""

    address = "127.0.0.1"
    advice: tuple[str, ...] = ()

    def __init__(self, node: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None  # noqa: PT018
        self._node, self._process = node, process
        self._stdin, self._stdout, self._stderr = (
            stream.fileno() for stream in (process.stdin, process.stdout, process.stderr)
        )
        self._errors = b""
        self._closed = threading.Event()
        for fd in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(fd, False)

    def send(self, chunk: bytes) -> None:
        view, until = memoryview(chunk), time.monotonic() + SEND_LIMIT_S
        while view:
            try:
                view = view[os.write(self._stdin, view) :]
            except BlockingIOError:
                poll = select.poll()
                poll.register(self._stdin, select.POLLOUT)
                if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                    raise self._gone(f"takes no input for {SEND_LIMIT_S:g} s") from None
            except OSError as error:
                raise self._gone("the agent is gone") from error

    def receive(self, limit: int, timeout_s: float) -> bytes | None:
        until = time.monotonic() + timeout_s
        poll = select.poll()
        poll.register(self._stdout, select.POLLIN)
        poll.register(self._stderr, select.POLLIN)
        while not self._closed.is_set():
            ready = {fd for fd, _ in poll.poll(max(0.0, until - time.monotonic()) * 1000)}
            if self._stderr in ready and not self._keep_errors():
                poll.unregister(self._stderr)
            if self._stdout in ready:
                with contextlib.suppress(BlockingIOError):
                    return os.read(self._stdout, limit)
            if time.monotonic() >= until:
                return None
        return b""

    def _keep_errors(self) -> bool:
        try:
            chunk = os.read(self._stderr, 65536)
        except OSError:
            return True
        self._errors = (self._errors + chunk)[-KEPT_BYTES:]
        return bool(chunk)

    def errors(self) -> str:
        while not self._closed.is_set() and select.select([self._stderr], [], [], 0)[0] and self._keep_errors():
            pass
        return self._errors.decode("utf-8", "replace")

    def exit_status(self, timeout_s: float) -> int | None:
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """The agent ends when its input does; it is awaited in the background so that no zombie stays."""
        if self._closed.is_set():
            return
        self._closed.set()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if self._process.poll() is None:
            threading.Thread(target=self._process.wait, daemon=True, name=f"diag reaps {self._node}").start()

    def _gone(self, what: str) -> NodeError:
        return NodeError(self._node, "agent_silent", what)
