"""What works without the nodes at fault, and on which nodes would a newcomer not have ended our job?

One line each beside the culprits; none where nobody was left out, and none where all were watched.
"""

from __future__ import annotations

from collections import defaultdict

from diag.facts.collective import Collective
from diag.facts.record import Missing, peek
from diag.inventory import fold
from diag.report.ink import Ink
from diag.report.places import number_of
from diag.report.shown import Shown
from diag.units import gb_per_s, gbit_per_s, size


def survivor_lines(shown: Shown, ink: Ink) -> list[str]:
    """``without   gpu03: all-reduce of 15 nodes finishes, busbw 11.1 Gbit/s at 64.0 MiB``"""
    first, again = peek(shown.snapshot, "collective"), peek(shown.snapshot, "without")
    if not isinstance(again, Collective) or isinstance(first, Missing):
        return []
    left_out = [name for name in first.nodes if name in dict(again.excluded)]
    return ink.field("without", f"{fold(left_out)}: {_says(again)}", indent=10)


def unwatched_lines(shown: Shown, ink: Ink) -> list[str]:
    """``unwatched gpu[01-02]: who begins to use a GPU would not have ended our job: in a container …``"""
    collective = peek(shown.snapshot, "collective")
    if isinstance(collective, Missing):
        return []
    nodes: dict[str, list[str]] = defaultdict(list)
    for name, why in collective.unwatched:
        nodes[why].append(name)
    lines = [f"{fold(names)}: who begins to use a GPU would not have ended our job: {why}"
             for why, names in nodes.items()]  # fmt: skip
    return [line for text in lines for line in ink.field("unwatched", text, indent=10)]


def _says(again: Collective) -> str:
    of = number_of(len(again.nodes), "node")
    if not again.finished and (again.guilty or not again.steps):
        return f"all-reduce of {of} does not finish either: {again.summary}"
    spelled = gb_per_s if again.backend == "nccl" else gbit_per_s
    largest = max(again.steps, key=lambda step: step.size_bytes, default=None)
    rate = f", busbw {spelled(largest.busbw_bytes_per_s)} at {size(largest.size_bytes)}" if largest else ""
    sums = "" if all(step.verified for step in again.steps) else ", its SUMS ARE WRONG"
    how = "finishes" if again.finished else "works, but found no time for all sizes"
    return f"all-reduce of {of} {how}{rate}{sums}"
