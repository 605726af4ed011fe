"""How do measurements begin together? Each says that it is at the gate and reads from it; an open one ends the read."""

from __future__ import annotations

import contextlib
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

MEET_S = 20.0
"""Nobody waits longer for the last one."""


class Place:
    """At the gate, in the process of one who may have to wait there."""

    def __init__(self, child: int, told: int, gate: int, others: Iterable[int]) -> None:
        """``others``: the leader's own ends, which a child keeps open in vain, or so that nobody gets through."""
        self._child, self._told, self._gate = child, told, gate
        for fd in others:
            os.close(fd)

    def meet(self) -> None:
        """Wait until all of the round have come here."""
        os.write(self._told, f"{self._child}\n".encode())
        os.read(self._gate, 1)


class Gate:
    """Of one round. ``came``: who has; of those that are late for an open gate, too."""

    def __init__(self, *, opened: bool) -> None:
        """``opened``: nobody waits, where the round is to begin one after the other."""
        self._heard, self._told = os.pipe()
        self._gate, self._opener = os.pipe()
        os.set_blocking(self._heard, False)
        self._words = b""
        self.came: set[int] = set()
        self._until = time.monotonic() + MEET_S
        if opened:
            self.open()

    @property
    def is_open(self) -> bool:
        return self._opener < 0

    def place(self, child: int) -> Place:
        """To be called in the child."""
        return Place(child, self._told, self._gate, (self._heard, *([] if self.is_open else [self._opener])))

    def look(self, awaited: Iterable[int]) -> bool:
        """Open it once those who are awaited have come, or too late. Whether it was opened now."""
        with contextlib.suppress(BlockingIOError):
            self._words += os.read(self._heard, 1 << 16)
        *lines, self._words = self._words.split(b"\n")
        self.came.update(map(int, lines))
        if self.is_open or (not self.came.issuperset(awaited) and time.monotonic() <= self._until):
            return False
        self.open()
        return True

    def open(self) -> None:
        os.close(self._opener)
        self._opener = -1

    def close(self) -> None:
        for fd in (self._heard, self._told, self._gate, *([] if self.is_open else [self._opener])):
            os.close(fd)
