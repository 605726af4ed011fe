"""How do messages travel between the controller and a node? A length, then JSON, compressed where that pays."""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MARKER = b"\n\x00diag-agent 1\n"
COMPRESSED = 1 << 31
COMPRESS_FROM_BYTES = 8192
HEAD_BYTES = 4


def to_json(value: object) -> bytes:
    """UTF-8 JSON. Bytes that were no text arrive as ``?``; NaN and unknown types raise."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def frame(body: bytes) -> bytes:
    flag = 0
    if len(body) >= COMPRESS_FROM_BYTES:
        import zlib

        body, flag = zlib.compress(body, 1), COMPRESSED
    return (len(body) | flag).to_bytes(HEAD_BYTES, "big") + body


class Reader:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, chunk: bytes) -> list[dict[str, Any]]:
        self._waiting += chunk
        messages = []
        while len(self._waiting) >= HEAD_BYTES:
            head = int.from_bytes(self._waiting[:HEAD_BYTES], "big")
            end = HEAD_BYTES + (head & ~COMPRESSED)
            if len(self._waiting) < end:
                break
            body = bytes(self._waiting[HEAD_BYTES:end])
            del self._waiting[:end]
            messages.append(json.loads(_inflated(body) if head & COMPRESSED else body))
        return messages


def _inflated(body: bytes) -> bytes:
    import zlib

    return zlib.decompress(body)
