"""Which GPUs of a node do the vendor's own links join all to all, and in which order must ranks take them to stay so?

Ranks take GPUs by their numbers, a group of ranks those that follow each other: where links join 0, 2, 4, 6, groups of
4 cross between islands all the time. What was measured goes before what a tool says: a pair that delivers wrong data,
hangs, or carries less than half of what linked pairs carry is not joined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from statistics import median

from diag.facts.device import Between
from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known
from diag.facts.speed import P2p

LINK = "link"
SHARE = 0.5
"""Of what linked pairs usually carry. The way by the host carries a quarter or less of what links do."""
STEPS = 20_000
"""Of the search for an order; a node of 16 GPUs takes some hundred. A graph that takes more has no order known."""

Pairs = frozenset[frozenset[int]]
Order = tuple[int, ...]


def joined(node: Node) -> Pairs | None:
    """Pairs of GPUs, by their index, on which their links can be counted; None: nobody knows of any link. Empty: of
    those that are known none carries what it should.
    """
    measured = _measured(node)
    if not is_known(node, "between"):
        return _quick(node, measured) or None
    said = linked(node)
    if not said:
        return None
    rates = {pair: rate for pair, rate in measured.items() if pair in said and rate}
    least = SHARE * median(rates.values()) if rates else 0.0
    return frozenset(pair for pair in said if measured.get(pair, least) >= least and measured.get(pair) != 0)


def order(gpus: Sequence[int], pairs: Pairs, size: int) -> Order | None:
    """``gpus`` in an order in which each ``size`` that follow each other are all joined; None: there is none.

    The usual order where that does; else the islands by their lowest number. ``len(gpus)`` is a multiple of ``size``.
    """
    usual = tuple(sorted(gpus))
    if is_joined(usual, pairs, size):
        return usual
    found = _Search(pairs, size).parts(usual)
    return None if found is None else tuple(gpu for part in found for gpu in part)


def largest(gpus: Sequence[int], pairs: Pairs) -> tuple[int, Order]:
    """The largest groups that divide a node into joined ones, and the order they need."""
    sizes = (size for size in range(len(gpus), 1, -1) if len(gpus) % size == 0)
    found = ((size, order(gpus, pairs, size)) for size in sizes)
    return next(((size, ordered) for size, ordered in found if ordered), (1, tuple(sorted(gpus))))


def is_joined(ordered: Order, pairs: Pairs, size: int) -> bool:
    """Whether each ``size`` GPUs that follow each other are joined all to all."""
    return all(_all_joined(ordered[at : at + size], pairs) for at in range(0, len(ordered), size))


def paths(node: Node) -> dict[frozenset[int], Between]:
    """Pair of GPUs, by their index -> what joins them, where that is known."""
    rows = node.between if is_known(node, "between") else ()
    ends = ((row.a.partition(":"), row.b.partition(":"), row) for row in rows)
    return {frozenset((int(a[2]), int(b[2]))): row for a, b, row in ends if a[0] == b[0] == "gpu"}


def fewest_links(node: Node, gpus: Sequence[int]) -> int:
    """Between each two of ``gpus``; empty: all of the node. Raises NotMeasured where it is not known of all."""
    ways = {frozenset((row.a, row.b)): row.links for row in node.between}
    names = [f"gpu:{gpu}" for gpu in gpus or [gpu.index for gpu in node.gpus]]
    pairs = [frozenset(pair) for pair in combinations(names, 2)]
    if not ways.keys() >= set(pairs):
        raise NotMeasured("how many links join its GPUs is not known")
    return min((ways[pair] for pair in pairs), default=0)


def linked(node: Node) -> Pairs:
    """Pairs that the driver or the vendor's tool says are joined by links. Raises NotMeasured where it says nothing."""
    _ = node.between
    return frozenset(pair for pair, row in paths(node).items() if row.path == LINK)


def _measured(node: Node) -> Mapping[frozenset[int], float]:
    """Pair -> bytes per second of its slower direction; 0: it was wrong, or killed."""
    if not is_known(node, "speed"):
        return {}
    found: dict[frozenset[int], float] = {}
    rows: Iterable[P2p] = node.speed.p2p if is_known(node.speed, "p2p") else ()
    for row in rows:
        pair = frozenset((row.source, row.target))
        rate = row.bytes_per_s if row.verified and row.times_s else 0.0
        found[pair] = min(rate, found.get(pair, rate))
    killed = (lost for lost in node.speed.lost if lost.topic == "p2p" and lost.how == "killed")
    return found | {frozenset(lost.gpus): 0.0 for lost in killed}


def _quick(node: Node, measured: Mapping[frozenset[int], float]) -> Pairs:
    """Where no tool tells of links and all pairs were measured: those near the quickest, if others are far slower."""
    count = len(node.gpus) if is_known(node, "gpus") else 0
    most = max(measured.values()) if measured and len(measured) == count * (count - 1) // 2 else 0.0
    quick = frozenset(pair for pair, rate in measured.items() if most and rate >= SHARE * most)
    return quick if len(quick) < len(measured) else frozenset()


def _all_joined(gpus: Sequence[int], pairs: Pairs) -> bool:
    return all(frozenset((one, other)) in pairs for place, one in enumerate(gpus) for other in gpus[place + 1 :])


class _Search:
    """Divides GPUs into parts whose members are all joined: the lowest one left, with the lowest that go with it."""

    def __init__(self, pairs: Pairs, size: int) -> None:
        self._pairs, self._size, self._left = pairs, size, STEPS

    def parts(self, gpus: Order) -> list[Order] | None:
        if not gpus:
            return []
        near = tuple(gpu for gpu in gpus[1:] if frozenset((gpus[0], gpu)) in self._pairs)
        for part in self._grown((gpus[0],), near):
            others = self.parts(tuple(gpu for gpu in gpus if gpu not in part))
            if others is not None:
                return [part, *others]
        return None

    def _grown(self, part: Order, near: Order) -> Iterable[Order]:
        """All groups of the size that hold ``part``; ``near``: who is joined with all of it."""
        self._left -= 1
        if self._left < 0 or len(part) + len(near) < self._size:
            return
        if len(part) == self._size:
            yield part
            return
        for place, gpu in enumerate(near):
            rest = tuple(other for other in near[place + 1 :] if frozenset((gpu, other)) in self._pairs)
            yield from self._grown((*part, gpu), rest)
