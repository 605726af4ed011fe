"""Hosts without hosts: a recorded stream, or an agent whose answers a test writes, behind the Transport Protocol."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from diag.errors import NodeError
from diag.inventory import Host
from diag.remote import frames, payload

HELLO = {
    "hello": {
        "pid": 4711,
        "python": "3.11.2",
        "executable": "/usr/bin/python3",
        "user": "ops",
        "hostname": "n000",
        "time": 1.7e9,
        "lock": {"held": True},
    }
}
Reply = Callable[[dict[str, Any]], Iterable[dict[str, Any]]]


class Recorded:
    """A channel that gives out what was recorded; None in ``chunks`` is a silence as long as the reader waits."""

    address = "192.0.2.1"
    advice: tuple[str, ...] = ()

    def __init__(self, *chunks: bytes | None, words: str = "", status: int | None = None) -> None:
        self._chunks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for chunk in chunks:
            self._chunks.put(chunk)
        self._words, self._status = words, status
        self.sent = b""
        self.closed = False

    def send(self, chunk: bytes) -> None:
        if self.closed:
            raise NodeError("fake", "agent_silent", "the connection is closed")
        self.sent += chunk

    def receive(self, limit: int, timeout_s: float) -> bytes | None:  # noqa: ARG002 - chunks are small
        try:
            chunk = b"" if self.closed else self._chunks.get(timeout=timeout_s)
        except queue.Empty:
            return None
        if chunk is None:
            time.sleep(timeout_s)
        return chunk

    def errors(self) -> str:
        return self._words

    def exit_status(self, timeout_s: float) -> int | None:  # noqa: ARG002 - it is known at once
        return self._status

    def close(self) -> None:
        self.closed = True


class Scripted(Recorded):
    """A channel to an agent whose answer to a message is ``reply(message)``; hello and lease are its own matter."""

    def __init__(self, reply: Reply, hello: Mapping[str, Any] = HELLO) -> None:
        super().__init__(frames.MARKER + frames.frame(hello))
        self._reply = reply
        self.renewals = 0
        self._code_bytes = len(payload.payload())
        self._reader = frames.Reader()
        self._reader.started = True

    def send(self, chunk: bytes) -> None:
        super().send(chunk)
        code, self._code_bytes = self._code_bytes, max(0, self._code_bytes - len(chunk))
        for message in self._reader.feed(chunk[code:]):
            if message == {"do": "alive"}:
                self.renewals += 1
                continue
            for answer in self._reply(message):
                self._chunks.put(frames.frame(answer))


class FakeTransport:
    """``{name: channel, or the NodeError that reaching the host raises}``."""

    def __init__(self, channels: Mapping[str, Recorded | NodeError]) -> None:
        self._channels = channels

    def open(self, host: Host, argv: tuple[str, ...], timeout_s: float) -> Recorded:  # noqa: ARG002 - nothing is started
        channel = self._channels[host.name]
        if isinstance(channel, NodeError):
            raise channel
        return channel


def obedient(values: Mapping[str, Any]) -> Reply:
    """An agent that knows the values by the names of the requests, and ends when it is asked to."""

    def reply(message: dict[str, Any]) -> Iterable[dict[str, Any]]:
        if message["do"] == "end":
            yield {"goodbye": {"left_behind": []}}
        if message["do"] == "answer":
            answers = [_answer(request["name"], values) for request in message["requests"]]
            yield {"id": message["id"], "answers": answers}

    return reply


def _answer(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "value": values[name]} if name in values else {"name": name, "why": "the fake does not know"}
