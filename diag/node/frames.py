"""How do messages travel between the controller and a node? A length, then JSON, compressed where that pays."""

import json

MARKER = b"\n\x00diag-agent 1\n"
COMPRESSED = 1 << 31
COMPRESS_FROM_BYTES = 8192


def to_json(value):
    """UTF-8 JSON. Bytes that were no text arrive as ``?``; NaN and unknown types raise."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def frame(body):
    flag = 0
    if len(body) >= COMPRESS_FROM_BYTES:
        import zlib

        body, flag = zlib.compress(body, 1), COMPRESSED
    return (len(body) | flag).to_bytes(4, "big") + body


class Reader:
    """Cuts a byte stream into messages."""

    def __init__(self):
        self.waiting = bytearray()

    def feed(self, chunk):
        self.waiting += chunk
        messages = []
        while len(self.waiting) >= 4:
            head = int.from_bytes(self.waiting[:4], "big")
            end = 4 + (head & ~COMPRESSED)
            if len(self.waiting) < end:
                break
            body = bytes(self.waiting[4:end])
            del self.waiting[:end]
            if head & COMPRESSED:
                import zlib

                body = zlib.decompress(body)
            messages.append(json.loads(body))
        return messages
