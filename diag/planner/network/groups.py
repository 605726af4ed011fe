"""Which nodes form one deployment, so that as few of its links as can be are slow?

They follow each other as they are named. Only groups with a slow link inside are mended, with the group beside them:
whoever has the most slow links stays idle, if anybody must; who has many picks its partners first; in a group
neighbours are those whose link is not slow, since stages of a pipeline talk to their neighbours only.
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
    whole = Groups(groups=_cut(names, size), idle=tuple(names[len(names) // size * size :]))
    if found is None or not found.slow:
        return whole
    bad = [at for at, group in enumerate(whole.groups) if _inside(group, found.slow)]
    if not bad:
        return whole
    beside = {at + 1 if at + 1 < len(whole.groups) else at - 1 for at in bad}
    pool = {at for at in (*bad, *beside) if at >= 0}
    mended = _mended(whole, pool, names, found)
    if any(_inside(group, found.slow) for group in mended.groups):
        anew = _mended(whole, set(range(len(whole.groups))), names, found)
        return min((mended, anew), key=lambda each: sum(_inside(group, found.slow) for group in each.groups))
    return mended


def _inside(group: Sequence[str], slow: frozenset[Pair]) -> int:
    return sum(frozenset(pair) in slow for pair in combinations(group, 2))


def _mended(whole: Groups, pool: set[int], names: Sequence[str], found: Rates) -> Groups:
    """The groups of ``pool`` and who is idle, put together anew; the others stay as they are."""
    place = {name: at for at, name in enumerate(names)}
    size, slow = len(whole.groups[0]), found.slow
    free = [*(name for at in sorted(pool) for name in whole.groups[at]), *whole.idle]
    of_each = Counter(name for pair in slow if pair <= set(free) for name in pair)
    kept = set(sorted(free, key=lambda name: of_each[name])[: len(pool) * size])
    left = [name for name in free if name in kept]
    first = sorted(left, key=lambda name: (-of_each[name], place[name]))
    groups = [_group(name, left, size, found) for name in first if name in left]
    rows = [_in_a_row(sorted(group, key=lambda name: place[name]), slow) for group in groups]
    rows += [group for at, group in enumerate(whole.groups) if at not in pool]
    rows.sort(key=lambda row: min(place[name] for name in row))
    return Groups(groups=tuple(rows), idle=tuple(name for name in free if name not in kept))


def _cut(names: Sequence[str], size: int) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(names[at : at + size]) for at in range(0, len(names) - size + 1, size))


def _group(name: str, left: list[str], size: int, found: Rates) -> list[str]:
    """``name`` and those of ``left``, which it takes out: over links that were measured and are not slow, if it can."""
    members = [name]
    left.remove(name)
    while len(members) < size:
        good = [other for other in left if not _slow_links(other, members, found.slow)]
        known = next((one for one in good if frozenset((members[-1], one)) in found.pairs), None)
        least = sorted(left, key=lambda one: _slow_links(one, members, found.slow))
        chosen = known or next(reversed(good), least[0])  # the farthest: who is near was measured with others
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
