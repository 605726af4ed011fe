"""Which checks are there, and what does each mean?"""

from __future__ import annotations

from collections.abc import Iterable

from diag.catalogue import Check
from diag.report.ink import Ink

INDENT = 4


def listing_lines(checks: Iterable[Check], ink: Ink) -> list[str]:
    """File by file; under each check why it matters and what to do."""
    lines: list[str] = []
    file = ""
    for check in checks:
        name = check.file.rpartition("/")[2]
        if name != file:
            lines += [*([""] if file else []), ink(name, "title")]
            file = name
        lines += _check(check, ink)
    return lines or [ink("no check matches")]


def _check(check: Check, ink: Ink) -> list[str]:
    marks = [check.part or ("node" if check.per_node else "cluster")]
    marks += ["optional"] if check.optional else []
    marks += ["advice"] if check.advice else []
    lines = [f"  {ink(check.id)}  {ink('(' + ', '.join(marks) + ')', 'dim')}"]
    for text in (check.about.why, check.about.do):
        for line in text.splitlines():
            lines += [" " * INDENT + ink(part, "dim") for part in ink.wrap(line, indent=INDENT)]
    return lines
