"""How does the agent listen and speak without ever being blocked by the other end?"""

from __future__ import annotations

import os
import select
import time

import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHUNK_BYTES = 4096  # a pipe that polls writable takes this much without blocking
FULL_BYTES = 4 << 20  # while this much is unsent, jobs wait
GONE = select.POLLERR | select.POLLNVAL


def take_standard_streams() -> Wire:
    """The protocol gets descriptors of its own: neither a stray print nor a child can reach it."""
    incoming, outgoing = os.dup(0), os.dup(1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return Wire(incoming, outgoing)


class Wire:
    """Messages in and out. ``lost`` says why nobody is there any more, and is empty while somebody is."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self.incoming, self.outgoing = incoming, outgoing
        self.unsent = bytearray(frames.MARKER)
        self.heard = time.monotonic()
        self.lost = ""
        self._reader = frames.Reader()

    def say(self, message: dict[str, Any]) -> None:
        self.say_encoded(frames.to_json(message))

    def say_encoded(self, body: bytes) -> None:
        self.unsent += frames.frame(body)

    def is_full(self) -> bool:
        return len(self.unsent) > FULL_BYTES

    def listen(self) -> list[dict[str, Any]]:
        """Read what waits: the messages that it completes."""
        chunk = os.read(self.incoming, 65536)
        self.heard = time.monotonic()
        if not chunk:
            self.lost = self.lost or "end of input"
        return self._reader.feed(chunk)

    def send(self) -> None:
        """Send as much as the other end takes now."""
        poll = select.poll()
        poll.register(self.outgoing, select.POLLOUT)
        try:
            while self.unsent and poll.poll(0):
                del self.unsent[: os.write(self.outgoing, self.unsent[:CHUNK_BYTES])]
        except OSError:
            self.unsent.clear()
            self.lost = self.lost or "nobody reads"

    def flush(self, limit_s: float) -> None:
        """Send all that is unsent, or give up when nobody takes it."""
        until = time.monotonic() + limit_s
        poll = select.poll()
        poll.register(self.outgoing, select.POLLOUT)
        self.send()
        while self.unsent and time.monotonic() < until:
            poll.poll(50)
            self.send()

    def look_once_more(self, lease_s: float) -> None:
        """The lease is over, unless we were frozen and word waits to be read."""
        poll = select.poll()
        poll.register(self.incoming, select.POLLIN)
        if not poll.poll(0):
            self.lost = self.lost or f"nothing heard for {lease_s:g} s"
