"""What did each check say, and of whom? Identical results of a file share a line; or one line a subject with -v."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from diag.facts.verdict import Verdict
from diag.report.ink import Ink
from diag.report.places import counted, number_of, place, places_of
from diag.report.shown import Shown
from diag.report.tally import Tally, by_file

WORDS = {
    "passed": "passed", "failed": "FAILED", "broken": "BROKEN", "not_measured": "not measured", "advice": "advice",
    "skipped": "not applicable",
}  # fmt: skip
NOTABLE = frozenset({"failed", "broken", "advice"})
"""What gives a check a line of its own; what was not measured has its own section."""
INDENT, NARROWEST_NAME, WIDEST_NAME = 2, 10, 46
ROOM = 20
"""Columns that are left beside the names, also on a narrow terminal."""
Segment = tuple[str, str]
"""Text and style."""
Row = tuple[str, tuple[Segment, ...]]
"""A check, or how many of them, and what they said."""


def check_lines(shown: Shown, tally: Tally, ink: Ink) -> list[str]:
    """Every file: first what is not well, check by check; then the others, those that say the same together.

    A node that was not reached is not repeated in every line: nothing but that is said of it, below.
    """
    silent = frozenset(node.name for node in shown.snapshot.nodes if node.reach.outcome != "answered")
    nobody = len(silent) == len(shown.snapshot.nodes)
    found = {file: list(_rows(checks, tally, silent)) for file, checks in by_file(tally, shown.checks).items()}
    files = {
        file: rows for file, rows in ((file, _worth(rows) if nobody else rows) for file, rows in found.items()) if rows
    }
    longest = max((len(name) for rows in files.values() for name, _ in rows), default=0)
    widest = min(WIDEST_NAME, ink.width - INDENT - 2 - ROOM)
    column = INDENT + max(NARROWEST_NAME, min(longest, widest)) + 2
    lines: list[str] = []
    for file, rows in files.items():
        lines.append(ink(file, "title"))
        for name, segments in rows:
            lines += _laid_out(name, segments, ink, column)
    return lines


def _rows(checks: Sequence[str], tally: Tally, silent: frozenset[str]) -> Iterator[Row]:
    alike: dict[tuple[Segment, ...], list[str]] = defaultdict(list)
    absent: dict[str, list[str]] = defaultdict(list)
    for check in checks:
        held = _without(tally.by_check[check], silent)
        if set(held) == {"skipped"}:
            absent[held["skipped"][0].summary or ""].append(check)
        elif NOTABLE.isdisjoint(held):
            alike[_segments(held)].append(check)
        else:
            yield check, _segments(held)
    for segments, names in alike.items():
        yield _together(names), segments
    if absent:
        reason = f": {next(iter(absent))}" if len(absent) == 1 else ""
        yield (
            _together([name for names in absent.values() for name in names]),
            ((f"not applicable{reason}", "skipped"),),
        )


def _worth(rows: Sequence[Row]) -> list[Row]:
    """Where no node was reached at all, that checks were not measured is said once, below, with the reason."""
    return [row for row in rows if any(outcome not in ("not_measured", "skipped") for _, outcome in row[1])]


def _without(held: Mapping[str, Sequence[Verdict]], silent: frozenset[str]) -> Mapping[str, Sequence[Verdict]]:
    """Leave out what was not measured on silent nodes, where anything else is to be said."""
    unknown = held.get("not_measured", ())
    if not silent or not unknown:
        return held
    others = {outcome: verdicts for outcome, verdicts in held.items() if outcome != "not_measured"}
    rest = [verdict for verdict in unknown if verdict.node not in silent]
    return others | ({"not_measured": rest} if rest else {}) or held


def _together(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else number_of(len(names), "check")


def _segments(held: Mapping[str, Sequence[Verdict]]) -> tuple[Segment, ...]:
    """What passed first, and whom a check does not apply to last; parts it does not apply to are not worth a word."""
    parts_only = len(held) > 1 and all(verdict.subject is not None for verdict in held.get("skipped", ()))
    return tuple(
        (f"{counted(places_of(held[outcome]))} {word}", outcome)
        for outcome, word in WORDS.items()
        if held.get(outcome) and not (outcome == "skipped" and parts_only)
    )


def _laid_out(name: str, segments: Sequence[Segment], ink: Ink, column: int) -> list[str]:
    """The name, and beside it the segments: as many on a line as fit, long ones wrapped."""
    lines = [f"{'':{INDENT}}{ink(name)}"]
    at = INDENT + len(name)
    if at > column - 2:
        lines, at = [*lines, ""], 0
    for text, style in segments:
        if at > column and len(text) > ink.width - at - 2:
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
