"""How does an argv pass a login shell that nobody knows? As a line that sh, bash, zsh, fish and csh read alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

PLAIN = re.compile(r"[A-Za-z0-9_@%+:,./-]+")


def command_line(argv: Sequence[str]) -> str:
    """``exec`` and the words: the login shell becomes the command instead of waiting for it."""
    return " ".join(("exec", *map(quoted, argv)))


def quoted(word: str) -> str:
    r"""In single quotes, but for the three characters on which shells differ there: ``'``, ``\`` (fish), ``!`` (csh).

    A line break inside a word is beyond csh.
    """
    if PLAIN.fullmatch(word):
        return word
    return "'" + re.sub(r"(['\\!])", r"'\\\1'", word) + "'"
