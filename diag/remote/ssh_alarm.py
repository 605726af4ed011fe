"""Who ends what takes too long? One thread for all connections that are being made, for as long as there are any."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

_lock = threading.Condition()
_due: list[tuple[float, int, Alarm]] = []
_numbers = itertools.count()
_armed = 0
_watcher: threading.Thread | None = None


class Alarm:
    """Calls ``ring`` at ``at`` (monotonic seconds), unless it is called off before."""

    def __init__(self, at: float, ring: Callable[[], None]) -> None:
        global _armed, _watcher  # noqa: PLW0603 - one thread for the whole process
        self.ring: Callable[[], None] | None = ring
        with _lock:
            _armed += 1
            heapq.heappush(_due, (at, next(_numbers), self))
            if _watcher is None:
                _watcher = threading.Thread(target=_watch, daemon=True, name="diag ends slow connections")
                _watcher.start()
            elif _due[0][2] is self:
                _lock.notify()

    def call_off(self) -> None:
        global _armed  # noqa: PLW0603 - as above
        with _lock:
            if self.ring is not None:
                self.ring = None
                _armed -= 1
                if not _armed:
                    _lock.notify()


def _watch() -> None:
    global _watcher  # noqa: PLW0603 - as above
    while True:
        with _lock:
            while _due and _due[0][2].ring is None:
                heapq.heappop(_due)
            if not _due:
                _watcher = None
                return
            at, _, alarm = _due[0]
            if at > time.monotonic():
                _lock.wait(at - time.monotonic())
                continue
        _ring(alarm)


def _ring(alarm: Alarm) -> None:
    with _lock:
        ring = alarm.ring
    alarm.call_off()
    if ring is not None:
        ring()
