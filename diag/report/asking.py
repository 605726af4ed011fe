"""What was this run asked for: how much load, and which checks? Part of the head."""

from __future__ import annotations

from diag.facts.derived import accelerators
from diag.facts.record import is_known
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import Selection
from diag.report.ink import Ink
from diag.report.listing import ignored_lines
from diag.report.places import number_of
from diag.report.shown import Shown

LABEL = 13


def asked_lines(shown: Shown, ink: Ink) -> list[str]:
    lines = ink.field("level", shown.snapshot.level + _not_burnt(shown.snapshot), indent=LABEL)
    chosen = _chosen(shown.verdicts.selection)
    lines += ink.field("asked for", chosen, indent=LABEL) if chosen else []
    ignored = shown.verdicts.selection.ignored
    return [*lines, *ignored_lines(ignored, ink)] if ignored else lines


def _not_burnt(snapshot: Snapshot) -> str:
    """A burn loads GPUs and nothing else."""
    lacking = [is_known(node, "devices") and not accelerators(node) for node in snapshot.nodes]
    return ": no accelerator on any node, so nothing was burnt" if snapshot.level == "burn" and all(lacking) else ""


def _chosen(selection: Selection) -> str:
    if not selection.keyword:
        return ""
    return f"{selection.asked:,} of {number_of(selection.known, 'check')} (-k {selection.keyword})"
