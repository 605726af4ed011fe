"""Which pairs are measured at once? Rounds of disjoint pairs, so that no node carries two measurements.

A pair stands for both its directions. It knows names and groups of nodes, nothing of what was measured.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from diag.facts.links import Flow
from diag.facts.record import is_known

Pair = tuple[str, str]
Rounds = tuple[tuple[Pair, ...], ...]

ALONE = 2
"""So many nodes have one edge, not a ring."""

T = TypeVar("T", bound=Hashable)


def ring_rounds(nodes: Sequence[str]) -> Rounds:
    """Every edge of the collective's ring: two rounds; three where the number of nodes is odd."""
    if len(nodes) <= ALONE:
        return (tuple(_edges(nodes)),) if len(nodes) == ALONE else ()
    edges = list(_edges(nodes))
    closing = edges.pop()
    halves = [edges[0::2], edges[1::2]]
    if len(nodes) % 2:
        return (*map(tuple, halves), (closing,))
    return tuple(halves[0]), (*halves[1], closing)


def ring_pairs(nodes: Sequence[str]) -> frozenset[Pair]:
    """The same edges, each with its ends in alphabetical order."""
    return frozenset((min(pair), max(pair)) for each in ring_rounds(nodes) for pair in each)


def all_rounds(nodes: Sequence[str], groups: Mapping[str, str] | None = None) -> Rounds:
    """Every pair once: n−1 rounds (n where odd). With ``groups`` (node -> leaf) pairs within one come first.

    Groups of unlike or odd sizes take some rounds more.
    """
    if groups is None:
        return tuple(_tournament(nodes))
    leaves: dict[str, list[str]] = {}
    for node in nodes:
        leaves.setdefault(groups.get(node, node), []).append(node)
    return tuple(chain(_side_by_side(map(_tournament, leaves.values())), _across(leaves)))


def sample_rounds(nodes: Sequence[str], pairs: int, seed: int) -> Rounds:
    """At least so many pairs, if there are: whole rounds of a tournament of shuffled nodes; the last is cut."""
    shuffled = list(nodes)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - a draw, not a secret
    return limited(tuple(_tournament(shuffled)), pairs)[0]


def limited(rounds: Rounds, max_pairs: int) -> tuple[Rounds, int]:
    """The first ``max_pairs`` pairs, and how many were left out."""
    kept, left = list[tuple[Pair, ...]](), max_pairs
    for each in rounds:
        kept.append(each[:left])
        left -= len(kept[-1])
    return tuple(each for each in kept if each), sum(map(len, rounds)) - max_pairs + left


def _edges(nodes: Sequence[str]) -> Iterator[Pair]:
    for place, node in enumerate(nodes[:-1]):
        yield node, nodes[place + 1]
    if len(nodes) > ALONE:
        yield nodes[-1], nodes[0]


def _tournament(players: Sequence[T]) -> Iterator[tuple[tuple[T, T], ...]]:
    """The circle method: the first stays, the others move on by one place a round."""
    if len(players) < ALONE:
        return
    seats: list[T | None] = [*players, None] if len(players) % 2 else list(players)
    for _ in range(len(seats) - 1):
        facing = zip(seats[: len(seats) // 2], reversed(seats[len(seats) // 2 :]), strict=True)
        yield tuple((one, other) for one, other in facing if one is not None and other is not None)
        seats.insert(1, seats.pop())


def _side_by_side(tournaments: Iterator[Iterator[tuple[Pair, ...]]]) -> Iterator[tuple[Pair, ...]]:
    for at_once in zip_longest(*tournaments, fillvalue=()):
        yield tuple(chain.from_iterable(at_once))


def _across(leaves: Mapping[str, Sequence[str]]) -> Iterator[tuple[Pair, ...]]:
    """Leaf against leaf, each such match in rounds of its own."""
    for matches in _tournament(list(leaves)):
        yield from _side_by_side(_match(leaves[one], leaves[other]) for one, other in matches)


def _match(one: Sequence[str], other: Sequence[str]) -> Iterator[tuple[Pair, ...]]:
    few, many = sorted((one, other), key=len)
    for shift in range(len(many)):
        yield tuple((node, many[(place + shift) % len(many)]) for place, node in enumerate(few))


def unmeasured(nodes: Sequence[str], flows: Sequence[Flow]) -> int:
    """Pairs of these nodes of which no flow is known, neither what it carried nor that it failed."""
    among = set(nodes)
    known = {flow.pair for flow in flows if flow.cause or is_known(flow, "bytes_per_s")}
    seen = sum(one in among and other in among for one, other in known)
    return len(nodes) * (len(nodes) - 1) // 2 - seen
