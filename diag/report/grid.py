"""How do a few rows become aligned lines, one a row, in the colours of this terminal?

Rows that may be thousands are laid out by hand (checks.py): this is for tables of a screen or two.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from diag.report.ink import STYLES, Ink
from diag.report.printable import printable


class Column(msgspec.Struct, frozen=True):
    """``wide``: takes what the others leave."""

    title: str = ""
    right: bool = False
    wide: bool = False


def cell(text: str, style: str = "") -> Text:
    """``style`` is one of the terminal's (ink.py)."""
    return Text(printable(text), STYLES[style] if style else "")


def grid_lines(columns: Sequence[Column], rows: Sequence[Sequence[RenderableType]], ink: Ink) -> list[str]:
    """The titles, then a line a row; what does not fit is cut with an ellipsis."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=any(column.wide for column in columns))
    for column in columns:
        table.add_column(
            cell(column.title, "dim"), justify="right" if column.right else "left", ratio=1 if column.wide else None,
            no_wrap=True, overflow="ellipsis", header_style="",
        )  # fmt: skip
    for row in rows:
        table.add_row(*row)
    return painted(table, ink)


def painted(what: RenderableType, ink: Ink) -> list[str]:
    lines = io.StringIO()
    console = Console(
        file=lines, width=ink.width, highlight=False, force_terminal=ink.coloured, legacy_windows=False,
        color_system="standard" if ink.coloured else None,
    )  # fmt: skip
    console.print(what)
    return [line.rstrip() for line in lines.getvalue().splitlines()]
