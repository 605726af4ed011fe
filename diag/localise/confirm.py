"""Which pairs shall be measured next? After the ring, what is suspicious: against what is proven good, or once more.

A node of which no pair was sound meets a proven-good one: an end of a sound pair and of no bad one. A pair that is bad
although both its ends were sound with others is measured again. It says what to measure, never who is guilty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from diag.facts.links import Flow
from diag.localise.explain import MATTERS, Fit
from diag.localise.observed import layers, look, recentred
from diag.localise.schedule import Pair, ring_pairs
from diag.localise.suspects import suspects

DOUBTED = 1.2
"""Nats of likelihood, some 1.5 deviations, from which a pair is doubted. A round costs the same however many of its
pairs are measured, so little is enough."""
BY_CHANCE = 0.03
"""A node that is slow makes its pairs slow alike; so far apart, the lesser doubt is noise."""
FINEST = 5.0
"""So many deviations shall 10 % be, over the flows of one direction in the ring: what is hardest to see."""
FURTHER = 2
"""So many more of what is suspicious."""
CERTAIN = 0.999
"""A confidence that needs no further measurement."""
MOST = 9
"""So many times as long as one measurement may all of it take."""


class Standing:
    """How suspicious each pair and node is, after the flows so far. Of several rails or methods, the worst counts."""

    def __init__(
        self,
        nodes: Sequence[str],
        flows: Sequence[Flow],
        expected_bytes_per_s: float | None = None,
        groups: Mapping[str, str] | None = None,
    ) -> None:
        ring = ring_pairs(nodes)
        self.pairs: dict[Pair, float] = {}
        self.nodes: dict[str, float] = {}
        self.noise = 0.0
        self.all_slow = False
        for layer in layers(flows):
            sight = look(layer, expected_bytes_per_s, groups)
            self.all_slow |= sight.all_slow
            fit = Fit(sight.seen, ring)
            fit.grow()
            fit = Fit(recentred(sight, fit.uncovered()).seen, ring, fit)
            fit.grow()
            self.noise = max(self.noise, fit.noise)
            self._count(fit)

    def _count(self, fit: Fit) -> None:
        for part in fit.covers:
            mean, flows = fit.mean(part), len(fit.covers[part])
            nats = flows * (mean / fit.noise) ** 2 / 2 if mean >= MATTERS / 2 else 0.0
            if part.kind in ("link", "direction"):
                pair = (min(part.nodes), max(part.nodes))
                self.pairs[pair] = max(self.pairs.get(pair, 0.0), nats)
            else:
                self.nodes[part.nodes[0]] = max(self.nodes.get(part.nodes[0], 0.0), nats)

    @property
    def bad(self) -> set[Pair]:
        return {pair for pair, nats in self.pairs.items() if nats >= DOUBTED}

    def in_sound_pair(self) -> set[str]:
        """Also whose other pair is so much worse that this one is only doubted by chance."""
        worst: dict[str, float] = {}
        for pair, nats in self.pairs.items():
            for node in pair:
                worst[node] = max(worst.get(node, 0.0), nats)
        return {
            node
            for pair, nats in self.pairs.items()
            for node in pair
            if nats < DOUBTED or nats < BY_CHANCE * worst[node]
        }

    def proven(self) -> list[str]:
        """Ends of a sound pair: first those of no bad one, the least suspicious first; then where only lonely nodes
        made a pair bad, of whom nothing better is known.
        """
        sound = self.in_sound_pair()
        doubted = {node for pair in self.bad if sound.issuperset(pair) for node in pair}
        bad = {node for pair in self.bad for node in pair}
        return sorted(sound - doubted, key=lambda node: (node in bad, self.nodes.get(node, 0.0), node))


def next_round(
    nodes: Sequence[str],
    flows: Sequence[Flow],
    *,
    expected_bytes_per_s: float | None = None,
    groups: Mapping[str, str] | None = None,
) -> tuple[Pair, ...]:
    """Disjoint pairs to measure after the ring; empty: nothing is open. One such round settles what the ring felt.

    Call it again after each round: another follows only where there were more suspects than proven-good nodes.
    """
    standing = Standing(nodes, flows, expected_bytes_per_s, groups)
    measured = {flow.pair for flow in flows}
    confirmed = bool(measured - ring_pairs(nodes)) or _again(flows)
    lonely = {node for pair in standing.bad for node in pair} - standing.in_sound_pair()
    proven = standing.proven()
    if not confirmed and (standing.all_slow or (lonely and not proven)):
        return _strangers(nodes, measured)
    if confirmed:
        met = measured - ring_pairs(nodes)
        lonely = {node for node in lonely if not any(_pair(node, good) in met for good in proven)}
    return _matched(standing, lonely, proven, measured, alone=confirmed)


def _matched(
    standing: Standing, lonely: set[str], proven: list[str], measured: set[Pair], *, alone: bool
) -> tuple[Pair, ...]:
    """Lonely nodes first, then what is most suspicious; each node once. ``alone``: only the lonely ones."""
    used, chosen = set[str](), list[Pair]()
    wanted: list[tuple[str, ...]] = [(node,) for node in sorted(lonely, key=lambda node: -standing.nodes[node])]
    wanted += () if alone else _doubts(standing, lonely)
    for ends in wanted:
        if used.intersection(ends):
            continue
        partner = ends[1] if len(ends) > 1 else _partner(ends[0], proven, used, measured)
        if partner is not None:
            chosen.append((ends[0], partner))
            used |= {ends[0], partner}
    return tuple(chosen)


def _doubts(standing: Standing, lonely: set[str]) -> list[tuple[str, ...]]:
    """Pairs to repeat and nodes to try elsewhere, the most suspicious first."""
    doubts: list[tuple[float, tuple[str, ...]]] = []
    for pair in standing.bad:
        if not lonely.intersection(pair):
            doubts.append((standing.pairs[pair], pair))
        doubts += [(standing.nodes.get(node, 0.0), (node,)) for node in pair if node not in lonely]
    return [ends for _, ends in sorted(set(doubts), key=lambda doubt: (-doubt[0], -len(doubt[1]), doubt[1]))]


def _partner(node: str, proven: Iterable[str], used: set[str], measured: set[Pair]) -> str | None:
    """A proven-good node that it has not met; one that it has, before none."""
    free = [good for good in proven if good not in used and good != node]
    return next((good for good in free if _pair(node, good) not in measured), free[0] if free else None)


def _strangers(nodes: Sequence[str], measured: set[Pair]) -> tuple[Pair, ...]:
    """Where all are slow alike: each meets one from the other side of the ring, which may show who is sound."""
    half = len(nodes) // 2
    pairs = (_pair(nodes[place], nodes[place + half]) for place in range(half))
    return tuple(pair for pair in pairs if pair not in measured)


def ring_repeats(spread: float) -> int:
    """How often each pair of the ring is measured in its round, so that a direction 10 % slow stands out of the spread.

    ``spread``: of the first flows, as a share (``spread_of``). Bounded by time, not by what would be needed.
    """
    return max(1, min(math.ceil((FINEST * spread / 0.1) ** 2), MOST // 3))


def confirm_repeats(spread: float) -> int:
    """How often each pair of ``next_round`` is measured in its round."""
    ring = ring_repeats(spread)
    return min(ring + FURTHER, MOST - 2 * ring)


def settled(
    nodes: Sequence[str],
    flows: Sequence[Flow],
    *,
    expected_bytes_per_s: float | None = None,
    groups: Mapping[str, str] | None = None,
) -> bool:
    """Whether more of the same would tell nothing new: who is named explains every doubted pair, without a doubt."""
    found = suspects(nodes, flows, expected_bytes_per_s=expected_bytes_per_s, groups=groups)
    if any(each.kind == "unclear" or each.confidence < CERTAIN for each in found):
        return False
    named = {each.nodes[0] for each in found if len(each.nodes) == 1}
    links = {_pair(*each.nodes) for each in found if len(each.nodes) > 1}
    bad = Standing(nodes, flows, expected_bytes_per_s, groups).bad
    return all(pair in links or named.intersection(pair) for pair in bad)


def spread_of(nodes: Sequence[str], flows: Sequence[Flow], groups: Mapping[str, str] | None = None) -> float:
    """The spread of sound flows, as a share of their rate, the slow ones set aside."""
    return Standing(nodes, flows, groups=groups).noise


def _again(flows: Sequence[Flow]) -> bool:
    rounds: dict[Pair, int] = {}
    return any(rounds.setdefault(flow.pair, flow.round) != flow.round for flow in flows)


def _pair(one: str, other: str) -> Pair:
    return (one, other) if one < other else (other, one)


def per_rail_round(
    confirmed: Sequence[str], nodes: Sequence[str], flows: Sequence[Flow], groups: Mapping[str, str] | None = None
) -> tuple[Pair, ...]:
    """Pairs to measure rail by rail, each confirmed suspect with a proven-good node; all rails of a pair at once."""
    standing = Standing(nodes, [flow for flow in flows if flow.rail is None], groups=groups)
    free = [node for node in standing.proven() if node in nodes and node not in confirmed]
    return tuple(zip(confirmed, free, strict=False))
