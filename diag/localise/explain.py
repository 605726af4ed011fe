"""Which fewest slow parts explain all flows? Fits rate(i -> j) = min(node i, node j, link ij), greedily and with a bar.

Each part (a node, its sending or receiving side, one rail of it, a link, one direction of one) that is slow takes flows
with it; a flow is as slow as its slowest part. A part is believed when what it explains is far more than chance among
all parts looked at, and *named* when no other explanation comes near. It knows deficits, not what a node is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from diag.localise.observed import Seen

MATTERS = 0.065
"""A part is no culprit below this deficit: others may take as much of a sound one."""
FLOOR = 0.01
"""The least spread of a flow: repeated measurements on a quiet network differ by as much."""
BELIEVED = 8.5
"""So many nats of likelihood must a culprit save: 4.1 standard deviations. Simulated (bench/localise.py): with it less
than one of 1,000 sound nodes is accused at a spread of 10 %."""
ONE_WAY = 0.7
"""What is slow one way only is twice as many parts."""
CROWD, CROWDED = 0.5, 16
"""Among many more, chance has more tries."""
UNFELT = 6.5
"""A link off the ring: the collective does not feel it, and of so many few are chosen to be measured. Where both it and
a node would explain what was measured there, it is the node."""
ONCE = 2.5
"""What one single flow says may have been somebody else's moment."""
SLOWER = 0.06
"""The spread of a flow that something slows, as a share of its deficit: a shaper's burst and lost packets add to it."""
MANY_FLOWS = 40
SPLIT = 3.0
"""Where all flows spread so much more than those at the top do, many are slow: then the top says what the noise is."""
FEW_FAST = 6
MAD = 1.4826
CAUTION = 1.15
"""A median absolute deviation is taken for this much larger, since it is uncertain itself."""


class Part(NamedTuple):
    """What may be slow. ``rail`` None: all of them. ``way``: ``sending`` or ``receiving``; empty: both."""

    kind: str
    nodes: tuple[str, ...]
    rail: str | None = None
    way: str = ""


Pairs = frozenset[tuple[str, str]]


def parts_of(seen: Seen, several_rails: bool) -> Iterator[Part]:
    """All through which a flow goes."""
    flow = seen.flow
    for rail in (None, flow.rail) if several_rails else (flow.rail,):
        kind = "nic" if rail is not None else "node"
        for node, way in ((flow.source, "sending"), (flow.target, "receiving")):
            yield Part(kind, (node,), rail)
            yield Part(kind, (node,), rail, way)
        yield Part("link", flow.pair, rail)
        yield Part("direction", (flow.source, flow.target), rail)


class Fit:
    """Parts that are slow, and by how much (``levels``); ``noise`` is what they leave, the spread of one flow."""

    def __init__(self, seen: Sequence[Seen], ring: Pairs, before: Fit | None = None) -> None:
        """``before``: of the same flows in the same order, whatever their deficits were then."""
        self.seen, self.ring = seen, ring
        self.levels: dict[Part, float] = {}
        self.covers: dict[Part, list[int]] = _covers(seen) if before is None else before.covers
        self.through: list[list[Part]] = _through(len(seen), self.covers) if before is None else before.through
        self._predicted = [0.0] * len(seen)
        self._candidates = {part for part in self.covers if self.mean(part) > MATTERS / 2}
        self._ports = len({(node, each.flow.rail) for each in seen for node in each.flow.pair})
        self._frozen = False
        self._measure_noise()

    @property
    def noise(self) -> float:
        return max(FLOOR, math.sqrt(self._squares / self._free))

    def mean(self, part: Part) -> float:
        flows = self.covers[part]
        return sum([self.seen[flow].deficit for flow in flows]) / len(flows)

    def explained(self, part: Part) -> list[Seen]:
        """Flows that nothing else makes slower."""
        flows = self.covers[part]
        return [self.seen[flow] for flow in flows if self._predicted[flow] <= self.levels[part]] or [
            self.seen[flow] for flow in flows
        ]

    def uncovered(self) -> list[Seen]:
        return [each for each, predicted in zip(self.seen, self._predicted, strict=True) if not predicted]

    def near(self, part: Part) -> set[Part]:
        """Those that share a flow with it."""
        return {other for flow in self.covers[part] for other in self.through[flow]}

    def grow(self, among: Iterable[Part] | None = None) -> list[Part]:
        """Add the best part until none is worth it; says which were added."""
        parts = self._candidates if among is None else self._candidates.intersection(among)
        savings = {part: self._saving(part) for part in parts - self.levels.keys()}
        added = list[Part]()
        while savings:
            best = max(savings, key=lambda part: (self._worth(part, *savings[part]), _order(part)))
            if self._worth(best, *savings.pop(best)) <= 0:
                break
            self._add(best)
            added.append(best)
            savings |= {part: self._saving(part) for part in self.near(best) & savings.keys()}
        return added

    def settle(self, among: Iterable[Part]) -> None:
        """Look at each again beside the others: levels move, and some parts are no longer needed."""
        for part in [part for part in among if part in self.levels]:
            self._drop(part)
            if self._worth(part, *self._saving(part)) > 0:
                self._add(part)

    def rival(self, part: Part) -> tuple[float, set[Part]]:
        """How many nats the best explanation without this culprit is worse, and what it names instead."""
        levels, predicted = dict(self.levels), list(self._predicted)
        squares, price = self._squares, self._price()
        near = self.near(part)
        self._frozen = True
        self._drop(part)
        named = self.grow({other for other in near if not _same(part, other)})
        self.settle((near | {other for each in named for other in self.near(each)}) & levels.keys())
        rest = self._free * FLOOR**2
        worse = self._free / 2 * math.log(max(self._sum_squares(), rest) / max(squares, rest))
        margin = worse + self._price() - price
        self.levels, self._predicted, self._frozen = levels, predicted, False
        self._measure_noise()
        return margin, set(named)

    def _price(self) -> float:
        return sum(map(self._price_of, self.levels))

    def _price_of(self, part: Part) -> float:
        """Nats that it must save to be believed."""
        price = (
            BELIEVED
            + CROWD * math.log(1 + self._ports / CROWDED)
            + (ONE_WAY if part.way or part.kind == "direction" else 0.0)
        )
        if len(part.nodes) > 1 and (min(part.nodes), max(part.nodes)) not in self.ring:
            price += UNFELT
        return price + (ONCE if len(self.covers[part]) == 1 else 0.0)

    def _add(self, part: Part) -> None:
        self.levels[part] = self._saving(part)[1]
        self._predict(part)

    def _drop(self, part: Part) -> None:
        del self.levels[part]
        self._predict(part)

    def _worth(self, part: Part, saved: float, level: float) -> float:
        """Nats above the part's price; below zero: better without it."""
        return self._nats(saved) - self._price_of(part) if level >= MATTERS else -math.inf

    def _saving(self, part: Part) -> tuple[float, float]:
        """Weighted squares that the part would save, and at which level. Flows slower by others tell nothing of it."""
        flows = self.covers[part]
        active, level = flows, 0.0
        for _ in flows:
            weight = sum(self.seen[flow].weight for flow in active)
            level = sum(self.seen[flow].weight * self.seen[flow].deficit for flow in active) / weight
            now = [flow for flow in flows if self._predicted[flow] < level]
            if now == active or not now:
                break
            active = now
        saved = 0.0
        for flow in active:
            each, old = self.seen[flow], self._predicted[flow]
            weight = each.weight * _trust(each.deficit, old)
            saved += weight * ((each.deficit - old) ** 2 - (each.deficit - max(old, level)) ** 2)
        return saved, level

    def _nats(self, saved: float) -> float:
        """What that many squares are worth at the noise of this fit, as in a t-test: few flows say less."""
        if saved <= 0:
            return -math.inf
        rest = max(self._squares - (0.0 if self._frozen else saved), self._free * FLOOR**2)
        tested = self._free / 2 * math.log((rest + saved) / rest)
        if self._frozen or (len(self.seen) < MANY_FLOWS and not self._split):
            return tested
        return max(tested, saved / (2 * (CAUTION * self._usual) ** 2))

    def _sum_squares(self) -> float:
        pairs = zip(self.seen, self._predicted, strict=True)
        return sum(
            each.weight * _trust(each.deficit, predicted) * (each.deficit - predicted) ** 2 for each, predicted in pairs
        )

    def _measure_noise(self) -> None:
        self._squares = self._sum_squares()
        self._free = max(1, len(self.seen) - 1 - len(self.levels))
        errors = [each.deficit - predicted for each, predicted in zip(self.seen, self._predicted, strict=True)]
        self._usual = max(FLOOR, MAD * median(map(abs, errors))) if errors else FLOOR
        upper = max(FLOOR, _upper(errors))
        self._split = self._usual > SPLIT * upper
        self._usual = CAUTION * upper if self._split else self._usual

    def _predict(self, changed: Part) -> None:
        for flow in self.covers[changed]:
            self._predicted[flow] = max(self.levels.get(part, 0.0) for part in self.through[flow])
        if not self._frozen:
            self._measure_noise()


def _trust(deficit: float, predicted: float) -> float:
    """How much of a flow's evidence counts where a part has made it slow already."""
    return 1 / (1 + (SLOWER / FLOOR * min(deficit, predicted)) ** 2) if deficit > 0 and predicted > 0 else 1.0


def _upper(errors: Sequence[float]) -> float:
    """The spread of those at least as fast as what is sound; so few that it says nothing: no bound."""
    fast = [-error for error in errors if error <= 0]
    return MAD * median(fast) * (1 + FEW_FAST / len(fast)) if len(fast) > FEW_FAST // 2 else math.inf


def _same(part: Part, other: Part) -> bool:
    """Whether both blame the same: a node's sending side and its rail are the node's."""
    of_nodes = part.kind in ("node", "nic")
    return of_nodes == (other.kind in ("node", "nic")) and set(part.nodes) == set(other.nodes)


def _through(count: int, covers: Mapping[Part, Sequence[int]]) -> list[list[Part]]:
    through: list[list[Part]] = [[] for _ in range(count)]
    for part, flows in covers.items():
        for flow in flows:
            through[flow].append(part)
    return through


def _covers(seen: Sequence[Seen]) -> dict[Part, list[int]]:
    several = len({each.flow.rail for each in seen}) > 1
    found: dict[Part, list[int]] = defaultdict(list)
    for place, each in enumerate(seen):
        for part in parts_of(each, several):
            found[part].append(place)
    return found


def _order(part: Part) -> tuple[bool, str]:
    """Among equals: a link before a node is blamed, and always the same."""
    return part.kind in ("link", "direction"), str(part)
