"""What did each check say, and of whom? One line a check, files as pytest shows them; or one line a subject with -v."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from diag.facts.verdict import Verdict
from diag.report.ink import Ink
from diag.report.places import counted, place, places_of
from diag.report.shown import Shown
from diag.report.tally import Tally, by_file

WORDS = {
    "passed": "passed", "failed": "FAILED", "broken": "BROKEN", "not_measured": "not measured", "advice": "advice",
    "skipped": "not applicable",
}  # fmt: skip
INDENT, NARROWEST_NAME, WIDEST_NAME = 2, 9, 38
Segment = tuple[str, str]
"""Text and style."""


def check_lines(shown: Shown, tally: Tally, ink: Ink) -> list[str]:
    """Every file with its checks; those that apply nowhere are counted with their reason."""
    column = _column(tally)
    lines: list[str] = []
    for file, checks in by_file(tally, shown.checks).items():
        lines.append(ink(file, "title"))
        absent: dict[str, list[str]] = defaultdict(list)
        for check in checks:
            held = tally.by_check[check]
            if set(held) == {"skipped"}:
                absent[held["skipped"][0].summary or ""].append(check)
            else:
                lines += _check(check, held, ink, column)
        for reason, names in absent.items():
            many = names[0] if len(names) == 1 else f"{len(names)} checks"
            lines += _laid_out(many, [(f"not applicable: {reason}", "skipped")], ink, column)
    return lines


def _column(tally: Tally) -> int:
    longest = max((len(check) for check, held in tally.by_check.items() if set(held) != {"skipped"}), default=0)
    return INDENT + max(NARROWEST_NAME, min(longest, WIDEST_NAME)) + 2


def _check(check: str, held: Mapping[str, Sequence[Verdict]], ink: Ink, column: int) -> list[str]:
    segments = [
        (f"{counted(places_of(held[outcome]))} {WORDS[outcome]}", outcome) for outcome in WORDS if held.get(outcome)
    ]
    return _laid_out(check, segments, ink, column)


def _laid_out(name: str, segments: Sequence[Segment], ink: Ink, column: int) -> list[str]:
    """The name, and beside it the segments: as many on a line as fit, long ones wrapped."""
    lines = [f"{'':{INDENT}}{ink(name)}"]
    at = INDENT + len(name)
    if at > column - 2:
        lines, at = [*lines, ""], 0
    for text, style in segments:
        room = ink.width - at - 2
        if at > column and len(text) > room:
            lines, at = [*lines, ""], 0
        gap = max(2 if at else 0, column - at)
        first, *rest = ink.wrap(text, indent=column)
        lines[-1] += " " * gap + ink(first, style)
        at = at + gap + len(first)
        for line in rest:
            lines.append(" " * column + ink(line, style))
            at = column + len(line)
    return lines


def verbose_lines(shown: Shown, tally: Tally, ink: Ink) -> list[str]:
    """``network.py::hostname_is_not_loopback[gpu02] FAILED``: every check and every subject, as pytest -v says it."""
    in_order: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in shown.verdicts.verdicts:
        in_order[verdict.check].append(verdict)
    words = {outcome: ink(word, outcome) for outcome, word in WORDS.items()}
    lines = []
    for file, checks in by_file(tally, shown.checks).items():
        for verdict in (verdict for check in checks for verdict in in_order[check]):
            where = ink(f"{file}::{verdict.check}[{place(verdict.node, verdict.subject)}]")
            why = f": {ink(verdict.summary)}" if verdict.summary and verdict.outcome != "failed" else ""
            lines.append(f"{where} {words[verdict.outcome]}{why}")
    return lines
