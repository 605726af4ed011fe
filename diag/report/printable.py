"""What may a terminal be sent of a text that came from elsewhere? Control characters are shown, not sent."""

from __future__ import annotations

import re
import unicodedata

_NOT_ASCII = re.compile(r"[^\x20-\x7e]")


def printable(text: str) -> str:
    """Safe to print, on one line. What came from a node must not steer the terminal, nor turn its letters around."""
    return text if text.isprintable() else _NOT_ASCII.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    character = match[0]
    if character.isprintable():
        return character
    if character in "\n\t" or unicodedata.category(character) == "Zs":
        return " "
    return character.encode("unicode_escape").decode()
