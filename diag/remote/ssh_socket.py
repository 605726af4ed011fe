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
        self._lock, self._users = threading.Lock(), 0
        self._tcp = stream if isinstance(stream, socket.socket) and stream.family != socket.AF_UNIX else None
        stream.settimeout(LOOK_S)

    def recv(self, limit: int) -> bytes:
        if not self._read:
            if not self._begin():
                return b""
            try:
                self._read = self._stream.recv(READ_BYTES)
                self._acknowledge()
            finally:
                self._end()
            self.heard = self.heard or self._read[:80]
        chunk, self._read = self._read[:limit], self._read[limit:]
        return chunk

    def send(self, chunk: bytes) -> int:
        if not self._begin():
            raise BrokenPipeError
        try:
            return self._stream.send(chunk)
        finally:
            self._end()

    def _acknowledge(self) -> None:
        if self._tcp and hasattr(socket, "TCP_QUICKACK"):
            with contextlib.suppress(OSError):
                self._tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def settimeout(self, timeout_s: float | None) -> None:
        """Not obeyed: paramiko wishes a tenth of a second."""

    def getpeername(self) -> tuple[str, int]:
        return self.peer, 0

    def close(self) -> None:
        """Wakes whoever reads or writes; does not wait. The last of them closes the descriptor.

        Closed at once, its number could already be a new connection's when a reader that was about to wait does so.
        """
        with self._lock:
            if self._closed:
                return
            self._closed, idle = True, not self._users
        if isinstance(self._stream, socket.socket):
            with contextlib.suppress(OSError):
                self._stream.shutdown(socket.SHUT_RDWR)
            if idle:
                self._stream.close()
        else:
            threading.Thread(target=self._leave, daemon=True, name="diag leaves a jump host").start()
        if self._command:
            self._command.close()

    def _begin(self) -> bool:
        with self._lock:
            self._users += not self._closed
            return not self._closed

    def _end(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._closed and not self._users
        if last and isinstance(self._stream, socket.socket):
            self._stream.close()

    def _leave(self) -> None:
        """Over a connection that may hang or be gone."""
        with contextlib.suppress(OSError, EOFError):
            self._stream.close()

    def last_words(self) -> str:
        """What a ProxyCommand said on its standard error."""
        return self._command.last_words() if self._command else ""


class ProxyCommand:
    """A command of ssh_config whose standard input and output are the connection."""

    def __init__(self, line: str) -> None:
        self._words, self._ended, self._reaping = "", threading.Event(), threading.Lock()
        self.ours, theirs = socket.socketpair()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the connection
        with theirs:
            fd = theirs.fileno()
            self._process = subprocess.Popen(
                ("/bin/sh", "-c", f"exec {line}"), stdin=fd, stdout=fd, stderr=self._errors, start_new_session=True
            )

    def last_words(self) -> str:
        """The last line of its standard error; ends it."""
        self.close()
        self._ended.wait(1)
        return self._words

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        threading.Thread(target=self._reap, daemon=True, name="diag reaps a ProxyCommand").start()

    def _reap(self) -> None:
        with self._reaping:
            if self._ended.is_set():
                return
            try:
                self._process.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            with self._errors as errors:
                errors.seek(0)
                lines = errors.read(READ_BYTES).decode("utf-8", "replace").splitlines()
            self._words = next((line.strip() for line in reversed(lines) if line.strip()), "")[:200]
            self._ended.set()
