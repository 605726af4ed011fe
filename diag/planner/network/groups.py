"""Which nodes form one deployment, so that as few of its links as can be are slow?

Where no link is slow they follow each other as they are named. Else whoever has the most slow links stays idle, if
anybody must; who has many picks its partners first; in a group neighbours are those whose link is not slow, since
stages of a pipeline talk to their neighbours only.
"""

from __future__ import annotations

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
    among = frozenset(names)
    slow = frozenset(pair for pair in (found.slow() if found is not None else ()) if pair <= among)
    count = len(names) // size
    if not slow:
        return Groups(groups=_cut(names, size), idle=tuple(names[count * size :]))
    of_each = {name: sum(name in pair for pair in slow) for name in names}
    by_slow = sorted(names, key=lambda name: of_each[name])
    kept, idle = by_slow[: count * size], by_slow[count * size :]
    left = sorted(kept, key=lambda name: -of_each[name])
    groups = []
    while left:
        groups.append(_group(left, size, slow, names))
    groups.sort(key=lambda group: names.index(group[0]))
    return Groups(groups=tuple(groups), idle=tuple(name for name in names if name in idle))


def _cut(names: Sequence[str], size: int) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(names[at : at + size]) for at in range(0, len(names) - size + 1, size))


def _group(left: list[str], size: int, slow: frozenset[Pair], names: Sequence[str]) -> tuple[str, ...]:
    """The next of ``left``, which it takes out, with whom it has fewest slow links."""
    members = [left.pop(0)]
    while len(members) < size:
        chosen = min(left, key=lambda name: (sum(frozenset((name, one)) in slow for one in members), names.index(name)))
        left.remove(chosen)
        members.append(chosen)
    return _in_a_row(sorted(members, key=names.index), slow)


def _in_a_row(members: list[str], slow: frozenset[Pair]) -> tuple[str, ...]:
    """Who has most slow links inside stands at an end."""
    of_each = {name: sum(frozenset((name, other)) in slow for other in members) for name in members}
    rest = sorted(members, key=lambda name: -of_each[name])
    row = [rest.pop(0)]
    while rest:
        chosen = min(rest, key=lambda name: frozenset((row[-1], name)) in slow)
        rest.remove(chosen)
        row.append(chosen)
    return tuple(row)
