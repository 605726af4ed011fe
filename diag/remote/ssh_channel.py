"""What goes through one open channel: the command's input and output, its last errors, its status."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from diag.errors import NodeError
from diag.remote.ssh_command import command_line
from diag.remote.ssh_socket import Wire

KEPT_BYTES = 8192
PACKET_BYTES = 32000
SEND_LIMIT_S = 10.0


class Buffer(Protocol):
    """What has arrived and was not read."""

    def set_event(self, event: threading.Event) -> None:
        """From now on ``event`` is set whenever there is something to read, or nothing will come any more."""


class Streams(Protocol):
    """The part of paramiko's Channel that is used."""

    exit_status: int
    status_event: threading.Event
    closed: bool

    @property
    def eof_received(self) -> int: ...
    @property
    def in_buffer(self) -> Buffer: ...
    @property
    def in_stderr_buffer(self) -> Buffer: ...
    def settimeout(self, timeout: float | None) -> None: ...
    def send(self, s: bytes) -> int: ...
    def recv_ready(self) -> bool: ...
    def recv(self, nbytes: int) -> bytes: ...
    def recv_stderr_ready(self) -> bool: ...
    def recv_stderr(self, nbytes: int) -> bytes: ...


class Connected(Protocol):
    """The connection below."""

    wire: Wire
    advice: tuple[str, ...]
    broken: tuple[type[Exception], ...]
    """What its channels raise when it is gone."""

    @property
    def alive(self) -> bool: ...
    def lost(self) -> str: ...
    def another(self, line: str, timeout_s: float) -> Streams | None: ...
    def close(self) -> None: ...


class SshChannel:
    """The streams of the one command on one host."""

    def __init__(self, node: str, connection: Connected, channel: Streams, *, owns: bool = True) -> None:
        """``owns``: the connection ends with this channel."""
        self.address, self.advice = connection.wire.peer, connection.advice
        self._node, self._connection, self._channel = node, connection, channel
        self._errors, self._owns = b"", owns
        self._arrived = threading.Event()
        channel.settimeout(SEND_LIMIT_S)
        channel.in_buffer.set_event(self._arrived)
        channel.in_stderr_buffer.set_event(self._arrived)

    def send(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        try:
            while view:
                sent = self._channel.send(bytes(view[:PACKET_BYTES]))
                if not sent or not self._connection.alive:
                    raise self._gone("the agent is gone")
                view = view[sent:]
        except TimeoutError as error:
            raise self._gone(f"takes no input for {SEND_LIMIT_S:g} s") from error
        except self._connection.broken as error:
            raise self._gone("the connection is gone") from error

    def receive(self, limit: int, timeout_s: float) -> bytes | None:
        """Wakes for standard error too: what nobody reads fills the window, and the command would wait."""
        until = time.monotonic() + timeout_s
        while True:
            self._keep_errors()
            if self._channel.recv_ready() or self._channel.eof_received or self._channel.closed:
                return self._read(limit)
            if not self._arrived.wait(max(0.0, until - time.monotonic())):
                return None

    def _read(self, limit: int) -> bytes:
        try:
            return self._channel.recv(limit)
        except self._connection.broken:
            return b""

    def errors(self) -> str:
        self._keep_errors()
        lost = self._connection.lost()
        return self._errors.decode("utf-8", "replace") + (f"\nconnection lost: {lost}" if lost else "")

    def _keep_errors(self) -> None:
        while self._channel.recv_stderr_ready():
            self._errors = (self._errors + self._channel.recv_stderr(1 << 16))[-KEPT_BYTES:]

    def exit_status(self, timeout_s: float) -> int | None:
        self._channel.status_event.wait(timeout_s)
        return None if self._channel.exit_status < 0 else self._channel.exit_status

    def beside(self, argv: tuple[str, ...], timeout_s: float) -> SshChannel | None:
        """On the same connection, which it does not close; None where the host allows no second session on one."""
        channel = self._connection.another(command_line(argv), timeout_s)
        return None if channel is None else SshChannel(self._node, self._connection, channel, owns=False)

    def close(self) -> None:
        if self._owns:
            self._connection.close()

    def _gone(self, what: str) -> NodeError:
        return NodeError(self._node, "agent_silent", what)
