"""Which nodes form one deployment, so that as few of its links as can be are slow?

Where no link is slow they follow each other as they are named. Else whoever has the most slow links stays idle, if
anybody must; who has many picks its partners first; in a group neighbours are those whose link is not slow, since
stages of a pipeline talk to their neighbours only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations, pairwise

import msgspec

from diag.planner.network.rates import Pair, Rates


class Groups(msgspec.Struct, frozen=True, kw_only=True):
    groups: tuple[tuple[str, ...], ...]
    idle: tuple[str, ...] = ()

    def pairs(self, *, neighbours: bool) -> tuple[Pair, ...]:
        """That talk to each other: all of a group, or neighbours."""
        found = (pairwise(group) if neighbours else combinations(group, 2) for group in self.groups)
        return tuple(frozenset(pair) for pairs in found for pair in pairs)


def grouped(names: Sequence[str], size: int, found: Rates | None) -> Groups:
    among, count = frozenset(names), len(names) // size
    slow = frozenset(pair for pair in (found.slow if found is not None else ()) if pair <= among)
    if not slow:
        return Groups(groups=_cut(names, size), idle=tuple(names[count * size :]))
    of_each = Counter(name for pair in slow for name in pair)
    kept = set(sorted(names, key=lambda name: of_each[name])[: count * size])
    left = [name for name in names if name in kept]
    first = sorted(kept, key=lambda name: (-of_each[name], name))
    groups = [_group(name, left, size, slow) for name in first if name in left]
    place = {name: at for at, name in enumerate(names)}
    rows = [_in_a_row(sorted(group, key=lambda name: place[name]), slow) for group in groups]
    rows.sort(key=lambda row: place[row[0]])
    return Groups(groups=tuple(rows), idle=tuple(name for name in names if name not in kept))


def _cut(names: Sequence[str], size: int) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(names[at : at + size]) for at in range(0, len(names) - size + 1, size))


def _group(name: str, left: list[str], size: int, slow: frozenset[Pair]) -> list[str]:
    """``name`` and those of ``left``, which it takes out, with whom it has fewest slow links."""
    members = [name]
    left.remove(name)
    while len(members) < size:
        good = (other for other in left if not _slow_links(other, members, slow))
        chosen = next(good, None) or min(left, key=lambda other: _slow_links(other, members, slow))
        left.remove(chosen)
        members.append(chosen)
    return members


def _slow_links(name: str, members: Sequence[str], slow: frozenset[Pair]) -> int:
    return sum(frozenset((name, one)) in slow for one in members)


def _in_a_row(members: list[str], slow: frozenset[Pair]) -> tuple[str, ...]:
    """Who has most slow links inside stands at an end."""
    rest = sorted(members, key=lambda name: -_slow_links(name, members, slow))
    row = [rest.pop(0)]
    while rest:
        chosen = min(rest, key=lambda name: frozenset((row[-1], name)) in slow)
        rest.remove(chosen)
        row.append(chosen)
    return tuple(row)
