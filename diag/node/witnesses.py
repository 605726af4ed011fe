"""Where does this rank stand, and what do those say who watch its collectives? Asked when one is overdue, and last.

The main thread says what it is in; another one reads that, asks torch's flight recorder and NCCL's RAS, and tells the
controller. What hangs in a collective cannot speak for itself.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

import flight
import markers
import ras

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

LOOK_S = 0.5
OVERDUE_S, OVERDUE_TIMES = 5.0, 3.0
"""A collective is overdue that takes longer than this, and than three times what the size before lets expect."""
BEFORE_END_S = 5.0
RAS_S = 4.0
ASKS_RAS = 2
"""So many ranks of a node ask: the first of them may be the one that hangs."""
PART_BYTES = 2500


class Standing:
    """What the main thread does: set there, read here. ``into``: the phase that it has not come to yet."""

    def __init__(self) -> None:
        self.calls, self.called, self.waits = 0, 0.0, False
        self.begin("imported")

    def begin(self, into: str, expected_s: float = 0.0) -> None:
        self.into, self.since, self.expected_s = into, time.monotonic(), expected_s

    @contextlib.contextmanager
    def call(self) -> Iterator[None]:
        """Inside, it is in a collective; all ranks make the same calls in the same order."""
        self.calls, self.called, self.waits = self.calls + 1, time.monotonic(), True
        yield
        self.waits = False

    def is_overdue(self) -> bool:
        return self.waits and time.monotonic() - self.called > max(OVERDUE_S, OVERDUE_TIMES * self.expected_s)

    def told(self) -> dict[str, Any]:
        return {
            "into": self.into,
            "since_s": round(time.monotonic() - self.since, 3),
            "calls": self.calls,
            "waits_s": round(time.monotonic() - self.called, 3) if self.waits else None,
        }


class Watch:
    """``left_s``: until this rank's last words."""

    def __init__(self, rank: int, local_rank: int, backend: str, left_s: Callable[[], float]) -> None:
        self.rank, self.local_rank, self.backend, self.left_s = rank, local_rank, backend, left_s
        self.standing = Standing()
        self.nccl = ""
        threading.Thread(target=self._look, daemon=True, name="diag witnesses").start()

    def _look(self) -> None:
        asked_at = -1
        while self.left_s() > BEFORE_END_S:
            time.sleep(LOOK_S)
            if self.standing.is_overdue() and self.standing.calls != asked_at:
                asked_at = self.standing.calls
                self.ask_all()
        self.ask_all()

    def ask_all(self) -> None:
        self.tell_standing()
        if self.backend == "nccl" and self.local_rank < ASKS_RAS:
            self._tell_ras(ras.ask(os.environ.get(ras.ADDRESS, ""), self.nccl, RAS_S))

    def tell_standing(self) -> None:
        """At once, and cheap: also the last that a rank says."""
        markers.say(rank=self.rank, standing=self.standing.told())
        markers.say(rank=self.rank, flight=flight.ask(self.backend))

    def _tell_ras(self, said: dict[str, Any]) -> None:
        """In parts that are short enough for the shared pipe; the first begins the answer anew."""
        text = said.pop("text", None)
        if text is None:
            markers.say(rank=self.rank, ras=said)
            return
        for at in range(0, len(text), PART_BYTES):
            markers.say(rank=self.rank, ras={"begins": at == 0, "text": text[at : at + PART_BYTES]})
