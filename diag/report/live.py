"""Who is waited for while a run goes on? A live line for each stage on a terminal, plain lines elsewhere.

It is told of a stage's start, of each node that is done, and of its end. Who is late follows from who is not done.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from diag.inventory import fold
from diag.report.ink import encodable
from diag.report.printable import printable

NAMED, SHORT = 3, 24
"""So many of those who are waited for are named, or all of them where their node set is as short as this."""
LATE_S, LATE_TIMES = 1.0, 2.0
"""A node is called the slowest when it took longer than a second and twice the median."""
PATIENCE_S = 10.0
"""Plain lines: how often a stage that takes long says whom it waits for."""


class Stage:
    """One stage while it runs, on those of all selected nodes that are still there. Times are of the monotonic clock.

    ``nodes`` None: the controller's own work, done for all of them at once.
    """

    def __init__(self, name: str, nodes: Sequence[str] | None, selected: int | None = None) -> None:
        self.name = name
        self.own = nodes is None
        nodes = nodes or ()
        self.total = len(nodes) if selected is None else selected
        self.waiting = dict.fromkeys(nodes)
        self.took_s: dict[str, float] = {}
        self.lost: list[str] = []
        self.began = time.monotonic()
        self.ended_s: float | None = None
        self.note = ""

    def done(self, node: str, *, lost: bool = False) -> None:
        if node in self.waiting:
            del self.waiting[node]
            self.took_s[node] = time.monotonic() - self.began
            if lost:
                self.lost.append(node)

    def slowest(self) -> str:
        """The one node that the others waited for; empty: none was much slower than they were."""
        if len(self.took_s) < 2:  # noqa: PLR2004 - two can be compared
            return ""
        last = max(self.took_s, key=lambda node: self.took_s[node])
        late_s = max(LATE_S, LATE_TIMES * median(self.took_s.values()))
        return last if self.took_s[last] > late_s else ""

    def line(self) -> str:
        elapsed_s = self.ended_s if self.ended_s is not None else time.monotonic() - self.began
        return f"{self.name:<13}{self.counted():<9}{elapsed_s:>6.1f} s   {self.tail()}".rstrip()

    def counted(self) -> str:
        """``2/3``: on how many of the selected nodes it is done, as the page says it."""
        if self.own:
            return f"{self.total}/{self.total}" if self.ended_s is not None else ""
        return f"{len(self.took_s) - len(self.lost)}/{self.total}"

    def tail(self) -> str:
        """Whom it waits for, or how it ended."""
        if self.ended_s is not None:
            slowest = self.slowest()
            lost = f"without {fold(self.lost)}" if self.lost else ""
            return self.note or lost or (f"slowest {slowest}" if slowest else "")
        if not self.waiting or not (self.took_s or self._is_slow()):
            return ""
        every = fold(self.waiting)
        if len(every) <= SHORT:
            return f"waiting for {every}"
        names = list(self.waiting)[:NAMED]
        more = f" and {len(self.waiting) - NAMED} more" if len(self.waiting) > NAMED else ""
        return f"waiting for {fold(names)}{more}"

    def _is_slow(self) -> bool:
        return time.monotonic() - self.began > LATE_S


class Display:
    """The progress of a run, on standard error; a context manager. ``quiet``: nothing that stays on the screen.

    ``page_follows``: in the same place, so plain lines say only whom is waited for, and not how each stage ended.
    """

    def __init__(self, stream: TextIO, *, quiet: bool = False, page_follows: bool = False) -> None:
        self.stream = stream
        self.page_follows = page_follows
        self.quiet = quiet
        self.console = Console(file=stream, highlight=False)
        self.stages: list[Stage] = []
        self.lock = threading.RLock()
        self.live: Live | None = None
        self.ticker: threading.Thread | None = None
        self.stopped = threading.Event()

    def __enter__(self) -> Display:  # noqa: PYI034 - typing.Self needs Python 3.11
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self.live = Live(console=self.console, get_renderable=self.render, refresh_per_second=4, transient=True)
            self.live.start()
        elif not self.quiet:
            self.ticker = threading.Thread(target=self._tick, name="diag-progress", daemon=True)
            self.ticker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        if self.live is not None:
            with contextlib.suppress(OSError):  # the terminal was closed: progress is not the result
                self.live.stop()
        if self.ticker is not None:
            self.ticker.join(1)

    def stage(self, name: str, nodes: Sequence[str] | None) -> None:
        """The first stage is of all selected nodes; see Stage."""
        with self.lock:
            selected = self.stages[0].total if self.stages else None
            self.stages.append(Stage(name, nodes, selected))

    def done(self, node: str, *, lost: bool = False) -> None:
        with self.lock:
            if self.stages:
                self.stages[-1].done(node, lost=lost)

    def ended(self, note: str) -> None:
        with self.lock:
            if not self.stages:
                return
            stage = self.stages[-1]
            stage.ended_s, stage.note = time.monotonic() - stage.began, note
            if self.ticker is not None and not self.page_follows:
                self._say(stage.line())

    def slowest(self) -> Mapping[str, str]:
        """Stage -> the node that the others waited for."""
        return {stage.name: slowest for stage in self.stages if (slowest := stage.slowest())}

    def render(self) -> Text:
        with self.lock:
            lines = [encodable(printable(stage.line()), self.console.encoding) for stage in self.stages]
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    def _say(self, line: str) -> None:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        with contextlib.suppress(OSError):  # nobody reads it any more: progress is not the result
            self.stream.write(encodable(printable(line), encoding) + "\n")
            self.stream.flush()

    def _tick(self) -> None:
        while not self.stopped.wait(PATIENCE_S):
            with self.lock:
                stage = self.stages[-1] if self.stages else None
                if stage is not None and stage.ended_s is None and time.monotonic() - stage.began >= PATIENCE_S:
                    self._say(stage.line())
