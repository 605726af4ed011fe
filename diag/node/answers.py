"""Who answers a frame of requests? A forked child, with a thread more for each request that hangs.

The agent itself touches no file system it does not know and calls no library: what hangs or crashes, hangs or crashes
in the child. The child sends each answer as soon as it has it; at their deadlines the agent answers for the rest.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import select
import signal
import time

import descendants
import frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEADLINE_S = 8.0
PATIENCE_MS = 50
REAP_S = 0.2
HEAD_BYTES = 8  # index and length before each answer
SPREAD = (1 << 32) - 1  # in place of an index: a tool was run


class Answers:
    """The requests of one frame, until all are answered or past their deadlines."""

    def __init__(self, message: dict[str, Any], mark: str, alive: int, leave: Callable[[], None]) -> None:
        """``alive``: read end of the agent's pipe; ``leave()``, in the child, drops the agent's descriptors."""
        self.id: int = message["id"]
        self.requests: list[dict[str, Any]] = message["requests"]
        limit_s = message.get("deadline_s", DEADLINE_S)
        self.limits_s = [min(request.get("deadline_s", DEADLINE_S), limit_s) for request in self.requests]
        self.started = time.monotonic()
        self.spread = False
        """Whether processes may be left that are neither this child nor of its group."""
        self._texts: list[bytes | None] = [None] * len(self.requests)
        self._received = b""
        self._out, end = os.pipe()
        self.pid = self._fork(end, mark, alive, leave)
        os.close(end)

    def _fork(self, end: int, mark: str, alive: int, leave: Callable[[], None]) -> int:
        try:
            pid = os.fork()
        except OSError as error:
            self._give_up(f"no process can be started: {error.strerror}", time.monotonic(), everything=True)
            return 0
        if pid:
            descendants.ended.pop(pid, None)  # of an earlier child with the same number
            return pid
        try:
            os.setsid()
            os.environ[descendants.MARK] = mark  # for whatever a function or tool starts
            leave()
            _answer_all(self.requests, [self.started + limit_s for limit_s in self.limits_s], end, alive)
        finally:
            os._exit(1)

    def descriptors(self) -> list[int]:
        return [self._out] if self._out >= 0 else []

    def ready(self, fd: int) -> bool:
        """Take what the child wrote; False at its end."""
        chunk = os.read(fd, 1 << 20)
        self._received += chunk
        while len(self._received) >= HEAD_BYTES:
            index, length = (int.from_bytes(self._received[at : at + 4], "big") for at in (0, 4))
            if len(self._received) < HEAD_BYTES + length:
                break
            if index == SPREAD:
                self.spread = True
            else:
                self._texts[index] = self._texts[index] or self._received[HEAD_BYTES : HEAD_BYTES + length]
            self._received = self._received[HEAD_BYTES + length :]
        if not chunk:
            self._give_up(self._how_it_ended(), time.monotonic(), everything=True)
        return bool(chunk)

    def _how_it_ended(self) -> str:
        until = time.monotonic() + REAP_S
        while self.pid not in descendants.ended and time.monotonic() < until:
            time.sleep(0.001)  # its pipe closes a moment before it can be collected
            descendants.reap()
        status = descendants.ended.get(self.pid)
        by = f" by signal {os.WTERMSIG(status)}" if status is not None and os.WIFSIGNALED(status) else ""
        return f"the process that answers was ended{by}"

    def due(self) -> float | None:
        """When the next unanswered request is past its deadline; None: all are answered."""
        open_s = [limit_s for limit_s, text in zip(self.limits_s, self._texts) if text is None]
        return self.started + min(open_s) if open_s else None

    def tick(self, now: float) -> None:
        self._give_up("", now)

    def _give_up(self, why: str, now: float, *, everything: bool = False) -> None:
        for index, request in enumerate(self.requests):
            limit_s = self.limits_s[index]
            if self._texts[index] is None and (everything or now >= self.started + limit_s):
                self.spread = True
                said = why or f"no answer within {limit_s:g} s"
                self._texts[index] = _said(request["name"], why=said, seconds=now - self.started)

    def body(self) -> bytes | None:
        """The answer frame once every request has its answer, else None."""
        texts = [text for text in self._texts if text is not None]
        if len(texts) < len(self._texts):
            return None
        return b'{"id":%d,"answers":[%s]}' % (self.id, b",".join(texts))

    def end(self) -> None:
        """Kill the child and the tools it runs; whether they went, the agent looks at its own end."""
        if self._out >= 0:
            os.close(self._out)
            self._out = -1
        if self.pid:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
            descendants.kill(self.pid)


def _said(name: str, value: object = None, why: str | None = None, seconds: float = 0.0) -> bytes:
    answer = {"name": name, "seconds": round(seconds, 6)}
    return frames.to_json(dict(answer, value=value) if why is None else dict(answer, why=why))


def _answer_all(requests: list[dict[str, Any]], deadlines: list[float], out: int, alive: int) -> None:
    """Answer one after another, past one that takes its time side by side; end with the last, or with the agent.

    Threads that share one interpreter cost more CPU than they save time: there is a second one only where one hangs.
    That a tool was run is told before the answer for which it was.
    """
    import verbs

    lock, left = _thread.allocate_lock(), [len(requests)]
    waiting = list(range(len(requests)))[::-1]

    def work() -> None:
        while waiting:
            with lock:
                index = waiting.pop() if waiting else None
            if index is None:
                return
            text = _answered(requests[index], deadlines[index])
            with lock:
                if verbs.ran:
                    _write(out, SPREAD.to_bytes(4, "big") + bytes(4))
                    verbs.ran.clear()
                _write(out, index.to_bytes(4, "big") + len(text).to_bytes(4, "big") + text)
                left[0] -= 1
                if not left[0]:
                    os._exit(0)

    poll = select.poll()
    poll.register(alive, select.POLLIN)
    before = len(waiting)
    while True:
        if waiting and len(waiting) == before:
            with contextlib.suppress(RuntimeError):  # no more threads are allowed here: those that hang time out
                _thread.start_new_thread(work, ())
        before = len(waiting)
        if poll.poll(PATIENCE_MS if waiting else None):
            os.killpg(0, signal.SIGKILL)


def _answered(request: dict[str, Any], deadline: float) -> bytes:
    import verbs

    name, began = request["name"], time.monotonic()
    try:
        value = verbs.answer(request["verb"], deadline)
        return _said(name, value, seconds=time.monotonic() - began)
    except BaseException as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        return _said(name, why=why, seconds=time.monotonic() - began)


def _write(fd: int, text: bytes) -> None:
    view = memoryview(text)
    while view:
        view = view[os.write(fd, view) :]
