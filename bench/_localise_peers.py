"""What localisation is measured against: the full sweep of all pairs, and bisection by the collective itself."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

from diag.localise import Pair, all_rounds, suspects
from tests.localise.simulated import Network, named

Named = set[tuple[str, tuple[str, ...], str | None, str]]

SLOW = 0.95
"""A ring below this share of the fastest one so far has the culprit."""
PAIR = 2


def swept(network: Network, repeats: int) -> Named:
    """Every pair so often, judged as localisation judges. It takes ``repeats`` * (n-1) measurements."""
    flows = [flow for pairs in all_rounds(network.nodes) for flow in network.measured(pairs, repeats)]
    return named(suspects(network.nodes, flows, groups=network.groups))


def bisected(network: Network, repeats: int) -> Named:
    """Halves of the ring, both at once, and on in the slower one; where neither is slow, it is where they were cut.

    Of the last two nodes each meets another. It ends at one culprit, and tells neither directions nor sides.
    """
    inside, sound = list(network.nodes), 0.0
    cuts = [[inside[-1], inside[0]]]
    while len(inside) > PAIR:
        halves = inside[: len(inside) // 2], inside[len(inside) // 2 :]
        rates = _rings(network, halves, repeats)
        sound = max(sound, *rates)
        if min(rates) >= SLOW * sound:
            cuts.append([halves[0][-1], halves[1][0]])
            inside = min(zip(_rings(network, cuts, repeats), cuts, strict=True))[1]
            break
        inside, cuts = min(zip(rates, halves, strict=True))[1], []
    (rate,) = _rings(network, [inside], repeats)
    if rate >= SLOW * sound:
        return set()
    others = [node for node in network.nodes if node not in inside]
    tried = [[inside[0], others[0]], [inside[-1], others[-1]]]
    slow = [pair[0] for pair, rate in zip(tried, _rings(network, tried, repeats), strict=True) if rate < SLOW * sound]
    return {("node", (node,), None, "") for node in slow} or {("link", (min(inside), max(inside)), None, "")}


def _rings(network: Network, parts: Sequence[Sequence[str]], repeats: int) -> list[float]:
    """An all-reduce of each part, all at once: as fast as the slowest flow from a node to the next and back."""
    edges: list[list[Pair]] = [list(itertools.pairwise(part)) for part in parts]
    rates: dict[Pair, list[float]] = {}
    for flow in network.measured([edge for part in edges for edge in part], repeats):
        rates.setdefault((flow.source, flow.target), []).append(flow.bytes_per_s)
    return [
        min((statistics.fmean(rates[way]) for edge in part for way in (edge, edge[::-1])), default=0.0)
        for part in edges
    ]
