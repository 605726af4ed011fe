"""What carries the bytes of an SSH connection, so that no packet waits for another?"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import threading
from typing import IO, Protocol

LOOK_S = 5.0
READ_BYTES = 65536


class Stream(Protocol):
    """A socket, or a channel of another SSH connection."""

    def recv(self, limit: int, /) -> bytes: ...
    def send(self, chunk: bytes, /) -> int: ...
    def settimeout(self, timeout_s: float | None, /) -> None: ...
    def close(self) -> None: ...


class Wire:
    """What paramiko reads and writes instead of the socket.

    It reads large pieces (paramiko asks for 16 bytes, then for the rest), acknowledges each at once (the other end's
    Nagle would wait 40 ms for it, twice a login), and sleeps longer than the tenth of a second that paramiko sets on
    every connection: closing wakes it.
    """

    def __init__(self, stream: Stream, peer: str, command: ProxyCommand | None = None) -> None:
        self.peer, self._stream, self._command = peer, stream, command
        self._closed, self._read, self.heard = False, b"", b""
        self._tcp = stream if isinstance(stream, socket.socket) and stream.family != socket.AF_UNIX else None
        stream.settimeout(LOOK_S)

    def recv(self, limit: int) -> bytes:
        if not self._read:
            self._read = self._stream.recv(READ_BYTES)
            self.heard = self.heard or self._read[:80]
            if self._tcp and hasattr(socket, "TCP_QUICKACK"):
                with contextlib.suppress(OSError):
                    self._tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        chunk, self._read = self._read[:limit], self._read[limit:]
        return chunk

    def send(self, chunk: bytes) -> int:
        return self._stream.send(chunk)

    def settimeout(self, timeout_s: float | None) -> None:
        """Not obeyed: paramiko wishes a tenth of a second."""

    def getpeername(self) -> tuple[str, int]:
        return self.peer, 0

    def close(self) -> None:
        """Wakes whoever reads or writes; does not wait."""
        if self._closed:
            return
        self._closed = True
        if isinstance(self._stream, socket.socket):
            with contextlib.suppress(OSError):
                self._stream.shutdown(socket.SHUT_RDWR)
            self._stream.close()
        else:
            threading.Thread(target=self._stream.close, daemon=True, name="diag closes a jump").start()
        if self._command:
            self._command.close()

    def last_words(self) -> str:
        """What a ProxyCommand said on its standard error."""
        return self._command.last_words() if self._command else ""


class ProxyCommand:
    """A command of ssh_config whose standard input and output are the connection."""

    def __init__(self, line: str) -> None:
        self.ours, theirs = socket.socketpair()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
        with theirs:
            fd = theirs.fileno()
            self._process = subprocess.Popen(
                ("/bin/sh", "-c", f"exec {line}"), stdin=fd, stdout=fd, stderr=self._errors, start_new_session=True
            )

    def last_words(self) -> str:
        try:
            self._errors.seek(0)
            lines = self._errors.read(READ_BYTES).decode("utf-8", "replace").split("\n")
        except ValueError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:200]

    def close(self) -> None:
        self._process.terminate()
        threading.Thread(target=self._reap, daemon=True, name="diag reaps a ProxyCommand").start()

    def _reap(self) -> None:
        try:
            self._process.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()
