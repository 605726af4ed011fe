"""How are messages to and from an agent framed? As in node/frames.py: a length, then JSON, compressed if large."""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

MARKER = b"\n\x00diag-agent 1\n"
COMPRESSED = 1 << 31
COMPRESS_FROM_BYTES = 8192
LARGEST_BYTES = 256 << 20
KEPT_NOISE_BYTES = 400


class NotAFrame(ValueError):  # noqa: N818 - it says what the bytes are
    """The stream holds something else than frames."""


def frame(message: Any) -> bytes:
    body, flag = msgspec.json.encode(message), 0
    if len(body) >= COMPRESS_FROM_BYTES:
        body, flag = zlib.compress(body, 1), COMPRESSED
    return (len(body) | flag).to_bytes(4, "big") + body


class Reader:
    """Cuts a byte stream into messages; what comes before the marker is a login shell's noise."""

    def __init__(self) -> None:
        self.noise_bytes = 0
        self._noise_end = b""
        self.started = False
        self._waiting = bytearray()

    def feed(self, chunk: bytes) -> list[dict[str, Any]]:
        """The messages completed by ``chunk``. Raises NotAFrame."""
        self._waiting += chunk
        if not self.started and not self._skip_noise():
            return []
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def last_noise(self) -> str:
        """The end of what came before the marker."""
        waiting = b"" if self.started else self._waiting
        return (self._noise_end + waiting).decode("utf-8", "replace")

    def _skip_noise(self) -> bool:
        at = self._waiting.find(MARKER)
        self.started = at >= 0
        noise = at if self.started else max(0, len(self._waiting) - len(MARKER))
        self.noise_bytes += noise
        self._noise_end = (self._noise_end + self._waiting[:noise])[-KEPT_NOISE_BYTES:]
        del self._waiting[: noise + len(MARKER) if self.started else noise]
        return self.started

    def _next(self) -> dict[str, Any] | None:
        if len(self._waiting) < 4:  # noqa: PLR2004 - the length before each frame
            return None
        head = int.from_bytes(self._waiting[:4], "big")
        end = 4 + (head & ~COMPRESSED)
        if end > LARGEST_BYTES:
            raise NotAFrame(f"{bytes(self._waiting[:80])!r}")
        if len(self._waiting) < end:
            return None
        body = bytes(self._waiting[4:end])
        del self._waiting[:end]
        try:
            return msgspec.json.decode(zlib.decompress(body) if head & COMPRESSED else body, type=dict[str, Any])
        except (zlib.error, msgspec.DecodeError) as error:
            raise NotAFrame(f"{body[:80]!r}") from error
