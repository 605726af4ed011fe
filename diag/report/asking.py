"""What was this run asked for: how much load, and which checks? Part of the head."""

from __future__ import annotations

from diag.facts.verdict import Selection
from diag.report.ink import Ink
from diag.report.listing import ignored_lines
from diag.report.places import number_of
from diag.report.shown import Shown

LABEL = 13


def asked_lines(shown: Shown, ink: Ink) -> list[str]:
    lines = ink.field("level", shown.snapshot.level, indent=LABEL)
    chosen = _chosen(shown.verdicts.selection)
    lines += ink.field("asked for", chosen, indent=LABEL) if chosen else []
    ignored = shown.verdicts.selection.ignored
    return [*lines, *ignored_lines(ignored, ink)] if ignored else lines


def _chosen(selection: Selection) -> str:
    if not selection.keyword:
        return ""
    return f"{selection.asked:,} of {number_of(selection.known, 'check')} (-k {selection.keyword})"
