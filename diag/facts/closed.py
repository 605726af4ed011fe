"""Because of whom are ports closed between nodes: of one node, or of something between two that nobody can tell apart?

A node has it where it is cut off from most others. One direction of one pair, or a border between two groups, is of
neither end alone.
"""

from __future__ import annotations

from itertools import combinations, product

from diag.facts.links import ClosedPorts, Links
from diag.facts.verdict import listed


def at_fault(links: Links) -> frozenset[str]:
    """Nodes that are cut off from most others, as long as they are few and not a group that only reaches itself."""
    others = len(links.knocking) - 1
    cut_off = _cut_off(links.ports.closed)
    left = {name: set(ends) for name, ends in cut_off.items()}
    found: list[str] = []
    while left and others > 1:
        name = max(left, key=lambda each: len(left[each]))
        if 2 * len(left[name]) <= others - len(found):
            break
        found.append(name)
        for end in left.pop(name):
            left.get(end, set()).discard(name)
    are_few = 2 * len(found) < len(links.knocking)
    are_alone = all(two in cut_off[one] for one, two in combinations(found, 2))
    return frozenset(found) if are_few and are_alone else frozenset()


def _cut_off(rows: tuple[ClosedPorts, ...]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows:
        for one, other in product(row.sources, row.targets):
            found.setdefault(one, set()).add(other)
            found.setdefault(other, set()).add(one)
    return found


def between(links: Links) -> tuple[ClosedPorts, ...]:
    """What is closed from one node to another of which neither is known to have it."""
    guilty = at_fault(links)
    return tuple(rest for row in links.ports.closed if (rest := _without(row, guilty)) is not None)


def _without(row: ClosedPorts, guilty: frozenset[str]) -> ClosedPorts | None:
    sources = tuple(name for name in row.sources if name not in guilty)
    targets = tuple(name for name in row.targets if name not in guilty)
    if not sources or not targets:
        return None
    return ClosedPorts(sources=sources, targets=targets, ports=row.ports, error=row.error, why=row.why)


def told(row: ClosedPorts) -> str:
    """``gpu01 > gpu02: ports 8000, 29500 closed: no answer (ETIMEDOUT)``"""
    ends = f"{listed(row.sources)} > {listed(row.targets)}"
    return f"{ends}: ports {listed(row.ports)} closed: {row.why} ({row.error})"
