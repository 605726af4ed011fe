"""Which checks are there, and what does each mean?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from diag.catalogue import PREFIX, Check
from diag.facts import remedy
from diag.report.ink import Ink

INDENT, LABEL = 4, 13


def listing_lines(
    checks: Iterable[Check], ink: Ink, *, broken: Sequence[str] = (), ignored: Sequence[str] = ()
) -> list[str]:
    """File by file; under each check why it matters and what to do. Last, what cannot be asked and why."""
    lines: list[str] = []
    file = ""
    for check in checks:
        name = check.file.rpartition("/")[2]
        if name != file:
            lines += [*([""] if file else []), ink(name, "title")]
            file = name
        lines += _check(check, ink)
    lines = lines or [ink("no check matches")]
    if ignored:
        lines += ["", *ignored_lines(ignored, ink)]
    if broken:
        lines += [
            "",
            ink.rule("broken checks", "broken"),
            *(line for why in broken for line in ink.wrap(why, indent=0)),
        ]
    return lines


def ignored_lines(ignored: Sequence[str], ink: Ink) -> list[str]:
    text = f"{', '.join(ignored)}: a check is a function whose name begins with {PREFIX}"
    return ink.field("ignored", text, indent=LABEL, style="not_measured")


def _check(check: Check, ink: Ink) -> list[str]:
    marks = [check.part or ("node" if check.per_node else "cluster")]
    marks += ["optional"] if check.optional else []
    marks += ["advice"] if check.advice else []
    lines = [f"  {ink(check.id)}  {ink('(' + ', '.join(marks) + ')', 'dim')}"]
    for text in (check.about.why, remedy.general(check.about.do)):
        for line in text.splitlines():
            lines += [" " * INDENT + ink(part, "dim") for part in ink.wrap(line, indent=INDENT)]
    return lines
