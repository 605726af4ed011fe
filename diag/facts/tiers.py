"""What does an all-reduce cost on each tier, inside a node and between nodes: a latency, and a rate for each byte?

Fitted to every verified step that was measured; where no three sizes were, there is no fit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import median

import msgspec

from diag.facts.collective import Collective
from diag.facts.fit import Cost, alpha_beta
from diag.facts.record import NotMeasured, is_known
from diag.facts.snapshot import Snapshot

FEWEST_SIZES = 3
"""Two sizes fit any line: of three the third says whether it holds."""
INSIDE, BETWEEN = "inside a node", "nodes"


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """``error``: the median of what the fit is off by, relative to what was measured."""

    name: str
    backend: str
    ranks: int
    cost: Cost
    sizes: int
    error: float


def tier_fits(cluster: Snapshot) -> tuple[Tier, ...]:
    """Those that were measured: of all nodes alone together, with as many ranks each as most; and between them."""
    return (*_inside(cluster), *_between(cluster))


def _inside(cluster: Snapshot) -> Iterable[Tier]:
    """Eager, under the engine's environment; the median node's time at each size."""
    times: dict[tuple[str, int], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for node in cluster.nodes:
        if not is_known(node, "speed") or not is_known(node.speed, "collectives"):
            continue
        together = node.speed.collectives
        for row in together.times:
            if (row.collective, row.environment, row.captured) == ("all_reduce", "engine", False) and row.verified:
                times[together.backend, together.world_size][row.size_bytes].append(median(row.times_s))
    several = [kind for kind in times if kind[1] > 1]
    if several:
        backend, ranks = max(several, key=lambda kind: sum(map(len, times[kind].values())))
        points = [(size, median(found)) for size, found in times[backend, ranks].items()]
        yield from _tier(INSIDE, backend, ranks, points)


def _between(cluster: Snapshot) -> Iterable[Tier]:
    if is_known(cluster, "collective") and len(cluster.collective.nodes) > 1:
        measured: Collective = cluster.collective
        points = [(step.size_bytes, median(step.times_s)) for step in measured.steps if step.verified]
        yield from _tier(BETWEEN, measured.backend, measured.world_size, points)


def _tier(name: str, backend: str, ranks: int, points: list[tuple[int, float]]) -> Iterable[Tier]:
    if len(points) < FEWEST_SIZES:
        return
    try:
        cost = alpha_beta(points)
    except NotMeasured:  # larger messages took no longer: no rate follows
        return
    error = median(abs(cost.time_s(size) - time) / time for size, time in points)
    yield Tier(name=name, backend=backend, ranks=ranks, cost=cost, sizes=len(points), error=error)
