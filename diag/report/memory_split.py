"""What fills the memory of one GPU, in figures and as a bar?

Both show the middle estimates. The bar is to scale but for what is small: it gets a cell, taken from what is largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from diag.facts.plan import Estimate, MemorySplit
from diag.units import GIB

TERMS = (
    ("weights", "weights_bytes"),
    ("KV", "kv_cache_bytes"),
    ("activation", "activation_bytes"),
    ("graphs", "cuda_graph_bytes"),
    ("other", "non_torch_bytes"),
)
FREE, HELD, MISSING = "free", "held", "missing"
LETTERS = {
    "weights": "w", "KV": "K", "activation": "a", "graphs": "g", "other": "o", FREE: "·", HELD: "h", MISSING: "»",
}  # fmt: skip
COLOURS = {
    "weights": "white on blue", "KV": "black on green", "activation": "black on yellow", "graphs": "white on magenta",
    "other": "black on cyan", FREE: "dim", HELD: "reverse", MISSING: "bold white on red",
}  # fmt: skip
NARROWEST_BAR = 10
LEAST_SHOWN = 0.2
"""Cells: what would take less is not in the bar."""


def estimate(memory: MemorySplit, field: str) -> Estimate:
    found: Estimate = getattr(memory, field)
    return found


def terms(memory: MemorySplit) -> list[tuple[str, int]]:
    """Those that are known and not nothing."""
    known = ((name, estimate(memory, field).mid) for name, field in TERMS)
    return [(name, n_bytes) for name, n_bytes in known if n_bytes and n_bytes > 0]


def free_bytes(memory: MemorySplit) -> int | None:
    """What nobody takes; below 0: what is missing; None: not every term is known."""
    middles = [estimate(memory, field).mid for _, field in TERMS]
    known = [middle for middle in middles if middle is not None]
    if memory.total_bytes is None or len(known) < len(middles):
        return None
    return memory.total_bytes - (memory.held_bytes or 0) - sum(max(0, middle) for middle in known)


def figures(memory: MemorySplit) -> list[str]:
    """``weights 17.0``, …, ``free 10.5 of 79.2``, in GiB."""
    told = [f"{name} {n_bytes / GIB:.1f}" for name, n_bytes in terms(memory)]
    if not told:
        return []
    if memory.held_bytes:
        told.append(f"{HELD} {memory.held_bytes / GIB:.1f}")
    free = free_bytes(memory)
    if free is None or memory.total_bytes is None:
        return told
    return [*told, f"{MISSING if free < 0 else FREE} {abs(free) / GIB:.1f} of {memory.total_bytes / GIB:.1f}"]


def cells(memory: MemorySplit, count: int) -> list[str]:
    """What each of ``count`` equal parts of the memory holds; the last is ``missing`` where there is too little.

    Empty where the split is not known as a whole.
    """
    free, total = free_bytes(memory), memory.total_bytes
    if free is None or not total:
        return []
    taken = [*terms(memory), (FREE, max(0, free)), (HELD, memory.held_bytes or 0)]
    counts = {name: _cells(n_bytes * count / total) for name, n_bytes in taken}
    if free >= 0:
        largest = max(counts, key=lambda name: counts[name])
        counts[largest] += count - sum(counts.values())
    shown = [name for name, cells_of_it in counts.items() for _ in range(cells_of_it)]
    return shown if free >= 0 else [*shown[: count - 1], MISSING]


def _cells(exactly: float) -> int:
    return max(1, round(exactly)) if exactly >= LEAST_SHOWN else 0


class MemoryBar:
    """As wide as its column: words on colours, or letters where there are no colours."""

    def __init__(self, memory: MemorySplit) -> None:
        self.memory = memory

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for name, cells_of_it in groupby(cells(self.memory, options.max_width)):
            count = len(list(cells_of_it))
            if console.color_system is None:
                yield Segment(LETTERS[name] * count)
            else:
                yield Segment(_word(name, count), Style.parse(COLOURS[name]))
        yield Segment.line()

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(NARROWEST_BAR, options.max_width)


def _word(name: str, count: int) -> str:
    """The name where there is room for it, else its letter."""
    if name in {FREE, MISSING}:
        return LETTERS[name] * count
    return (name if len(name) <= count else LETTERS[name]).center(count)


def legend(memories: Sequence[MemorySplit], *, coloured: bool) -> Text:
    """What the letters or colours of these bars stand for."""
    seen = {name for memory in memories for name in (*(one for one, _ in terms(memory)), *_around(memory))}
    text = Text()
    for name in (name for name in LETTERS if name in seen):
        text.append("  " if text else "")
        text.append(f" {LETTERS[name]} " if coloured else LETTERS[name], COLOURS[name] if coloured else "")
        text.append(f" {name}", "dim" if coloured else "")
    return text


def _around(memory: MemorySplit) -> list[str]:
    free = free_bytes(memory) or 0
    return [name for name, is_there in ((FREE, free > 0), (HELD, memory.held_bytes), (MISSING, free < 0)) if is_there]
