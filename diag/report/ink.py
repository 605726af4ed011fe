"""How does text reach this terminal: how wide, in which colours, with which characters?

Lines are made here rather than by rich's renderer: a page for 1,000 nodes must not take longer than the judging.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from typing import TextIO

from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

from diag.report.printable import printable

STYLES = {
    "passed": "green", "failed": "bold red", "broken": "bold magenta", "not_measured": "yellow", "advice": "cyan",
    "skipped": "dim", "title": "bold", "dim": "dim", "command": "bold",
}  # fmt: skip
PLAIN = {
    "─": "-", "│": "|", "·": "-", "–": "-", "—": "-", "…": "...", "×": "x", "µ": "u", "≥": ">=", "≤": "<=", "±": "+-",
    "−": "-", "⁹": "^9", "→": "->", "»": ">",
}  # fmt: skip
"""What stands for a character that the terminal's encoding lacks."""
NARROWEST, WIDEST = 40, 100


class Ink:
    """What one output stream can show. ``width`` in columns: a page is read best below 100."""

    def __init__(self, stream: TextIO, *, width: int | None = None) -> None:
        console = Console(file=stream, highlight=False, soft_wrap=True)
        self.stream = stream
        self.width = width or max(NARROWEST, min(WIDEST, console.width))
        self.coloured = console.color_system is not None and not console.no_color
        self.encoding = getattr(stream, "encoding", None) or "utf-8"

    def __call__(self, text: str, style: str = "") -> str:
        """``text`` in a style of STYLES, safe to print."""
        clean = printable(text)
        return _style(STYLES[style]).render(clean, color_system=ColorSystem.STANDARD) if self._paints(style) else clean

    def _paints(self, style: str) -> bool:
        return bool(style) and self.coloured

    def rule(self, title: str, style: str = "title") -> str:
        """``── failed ─────────``"""
        left = f"── {printable(title)} "
        return self(left + "─" * max(0, self.width - len(left)), style)

    def wrap(self, text: str, *, indent: int, first: int = 0) -> list[str]:
        """Words of ``text`` in lines that leave ``indent`` columns at the left; ``first``: taken in the first line."""
        room = max(20, self.width - indent)
        lead = "\0" * max(0, first - indent)
        lines = textwrap.wrap(lead + printable(text), room, break_long_words=False, break_on_hyphens=False) or [""]
        return [line.replace("\0", "") for line in lines]

    def field(self, label: str, text: str, *, indent: int, style: str = "") -> list[str]:
        """A label, and beside it the wrapped text, its lines aligned at ``indent``."""
        head, *rest = self.wrap(text, indent=indent)
        return [f"{label:<{indent}}{self(head, style)}", *(" " * indent + self(line, style) for line in rest)]

    def fields(self, label: str, texts: Sequence[str], *, indent: int) -> list[str]:
        """A label, and beside it each text from a line of its own."""
        return [
            line
            for position, text in enumerate(texts)
            for line in self.field("" if position else label, text, indent=indent)
        ]

    def joined(self, parts: Sequence[tuple[str, str]]) -> list[str]:
        """Texts with their styles, commas between them, broken only at the commas."""
        lines, at = [""], 0
        for position, (text, style) in enumerate(parts):
            comma = "," if position < len(parts) - 1 else ""
            if at and at + 1 + len(text) + len(comma) > self.width:
                lines, at = [*lines, ""], 0
            lines[-1] += (" " if at else "") + self(text, style) + comma
            at += len(text) + len(comma) + (1 if at else 0)
        return lines

    def write(self, lines: list[str]) -> None:
        self.stream.write(encodable("\n".join(lines) + "\n", self.encoding))
        self.stream.flush()


@lru_cache(maxsize=64)
def _style(definition: str) -> Style:
    return Style.parse(definition)


def encodable(text: str, encoding: str) -> str:
    """``text`` with what ``encoding`` lacks written in what it has."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        for character, instead in PLAIN.items():
            text = text.replace(character, instead)
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        return text
    return text
