"""How do the figures of many devices or nodes become one line: lowest to highest, and who is far behind the others?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from diag.facts.outliers import slow
from diag.report.ink import Ink
from diag.report.places import Place, folded

GAP, INDENT = 2, 2
NAMED = 3
"""So many odd ones get a line of their own; of the others the number is told."""
NONE = "-"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """``odd``: who is far behind, with what it reached; the range is that of the others."""

    low: float
    high: float
    odd: Mapping[Place, float] = {}

    def shown(self, spell: Callable[[float], str]) -> str:
        return ranged(self.low, self.high, spell)


def figure(values: Mapping[Place, float], *, times: bool = False) -> Figure:
    """Of at least one value. ``times``: seconds, of which more is worse."""
    late = slow({place: 1 / value for place, value in values.items()} if times else values)
    rest = [value for place, value in values.items() if place not in late]
    return Figure(low=min(rest), high=max(rest), odd={place: values[place] for place in late})


def ranged(low: float, high: float, spell: Callable[[float], str]) -> str:
    """``24 µs``, ``24–31 µs``, ``900 µs to 1.1 ms``."""
    first, last = spell(low), spell(high)
    number, _, unit = first.partition(" ")
    if first == last:
        return first
    return f"{number}–{last}" if unit == last.partition(" ")[2] else f"{first} to {last}"


def odd_texts(found: Mapping[str, Figure], spell: Mapping[str, Callable[[float], str]]) -> list[str]:
    """``far behind: gpu02:5 bf16 697.1 TFLOP/s``: ``found`` and ``spell`` by what was measured."""
    told = [
        f"{folded([place])} {what} {spell[what](value)}"
        for what, each in found.items()
        for place, value in each.odd.items()
    ]
    more = [f"and {len(told) - NAMED} more"] if len(told) > NAMED else []
    return [f"far behind: {'; '.join([*told[:NAMED], *more])}"] if told else []


def table_lines(titles: Sequence[str], rows: Sequence[Sequence[str]], ink: Ink) -> list[str]:
    """The first column to the left, figures to the right. Too wide for this terminal: each row as a sentence."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    if INDENT + sum(widths) + GAP * (len(widths) - 1) > ink.width:
        return [line for row in rows for line in _told(titles, row, widths[0], ink)]
    told = [_line(titles, widths), *(_line(row, widths) for row in rows)]
    return [ink(line, "" if place else "dim") for place, line in enumerate(told)]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = f"{'':<{INDENT}}{cells[0]:<{widths[0]}}"
    rest = (f"{'':<{GAP}}{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "".join((first, *rest)).rstrip()


def _told(titles: Sequence[str], row: Sequence[str], width: int, ink: Ink) -> list[str]:
    cells = zip(titles[1:], row[1:], strict=True)
    text = ", ".join(f"{title} {cell}".strip() for title, cell in cells if cell not in ("", NONE))
    return ink.field(f"{'':<{INDENT}}{row[0]:<{width}}", text, indent=INDENT + width + GAP)
