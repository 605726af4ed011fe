"""What do nodes carry between each other, a pair at a time, and over what will the library go?

A pair's rate is that of its slower direction; over RDMA the sum over its rails, each measured by itself. RDMA counts
where it came through for every node, TCP where it did not. Rates of pairs tell nothing of many pairs at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

import msgspec

from diag.facts.links import TCP, Flow, Links
from diag.facts.record import is_known
from diag.facts.snapshot import Snapshot
from diag.units import gbit_per_s

SLOW = 0.5
"""Of the usual rate: below, it is worth to go around a link."""
METHODS = ("ib_write_bw", "ib_read_bw", TCP)
"""The first with which every node came through is what the library takes."""

Pair = frozenset[str]


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """``pairs``: 0 where what failed is known to fail; a pair that was not measured has none.

    ``usual``: the median of what each node's best pair carries: a slow node spoils other pairs of its partners.
    ``slow``: pairs far below; ``slow_nodes``: those of which even the best pair is, with what it carries.
    """

    method: str
    pairs: Mapping[Pair, float]
    usual: float
    slow: frozenset[Pair]
    slow_nodes: Mapping[str, float]

    def of(self, pairs: Iterable[Pair]) -> tuple[Pair, float] | None:
        """The slowest of ``pairs``; None: none was measured."""
        known = [(pair, self.pairs[pair]) for pair in pairs if pair in self.pairs]
        return min(known, key=lambda each: (each[1], sorted(each[0]))) if known else None

    def told(self, pair: Pair) -> str:
        """``ib_write_bw 48.2 Gbit/s between gpu01 and gpu02``."""
        rate = self.pairs[pair]
        carried = gbit_per_s(rate) if rate else "failed"
        return f"{self.method} {carried} between {' and '.join(sorted(pair))}"


def rates(snapshot: Snapshot, names: Sequence[str]) -> Rates | None:
    """Between ``names``. None: nothing was measured."""
    if not is_known(snapshot, "links"):
        return None
    for method in METHODS:
        pairs = _pairs(snapshot.links, frozenset(names), method)
        if pairs and {name for pair, rate in pairs.items() if rate for name in pair} == set(names):
            return _rates(method, pairs)
    return None


def _rates(method: str, pairs: Mapping[Pair, float]) -> Rates:
    best: dict[str, float] = {}
    for pair, rate in pairs.items():
        for name in pair:
            best[name] = max(best.get(name, 0.0), rate)
    usual = median(best.values())
    slow = frozenset(pair for pair, rate in pairs.items() if rate < SLOW * usual)
    nodes = {name: rate for name, rate in sorted(best.items()) if rate < SLOW * usual}
    return Rates(method=method, pairs=pairs, usual=usual, slow=slow, slow_nodes=nodes)


def _pairs(links: Links, names: frozenset[str], method: str) -> dict[Pair, float]:
    ways: dict[tuple[str, str], dict[str | None, list[Flow]]] = defaultdict(lambda: defaultdict(list))
    for flow in links.flows:
        if flow.method == method and {flow.source, flow.target} <= names:
            ways[flow.source, flow.target][flow.rail].append(flow)
    found: dict[Pair, float] = {}
    for (source, target), rails in ways.items():
        each = [rate for flows in rails.values() if (rate := _rate(flows)) is not None]
        if each:
            pair = frozenset((source, target))
            found[pair] = min(found.get(pair, float("inf")), sum(each))
    return found


def _rate(flows: Sequence[Flow]) -> float | None:
    """0: it failed, and it is known why."""
    known = [flow.bytes_per_s for flow in flows if is_known(flow, "bytes_per_s")]
    if known:
        return median(known)
    return 0.0 if any(flow.cause for flow in flows) else None
