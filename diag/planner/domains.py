"""Which GPUs are joined by the fastest links, and what does a deployment pay that crosses them?

A ring all-reduce of n ranks moves 2(n−1)/n of its message through every rank; tensor parallelism makes two a layer, of
hidden size × bytes an element for each token (Megatron-LM, section 3). Time is that of the bytes alone, at the rate of
large messages: small ones wait longer. A pipeline hands the same on once a stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from diag import hardware
from diag.facts.collective import Collective
from diag.facts.islands import Order
from diag.facts.record import NotMeasured, is_known
from diag.facts.snapshot import Snapshot
from diag.planner import islands
from diag.planner.accelerators import Accelerators
from diag.planner.deployment import Deployment
from diag.planner.islands import Islands
from diag.planner.model.architecture import Architecture
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.network.groups import Groups, grouped
from diag.planner.network.rates import Rates, rates
from diag.units import gb_per_s, gbit_per_s, seconds, size

INSIDE, ACROSS_ISLANDS, ACROSS_NODES = 0, 1, 2
"""Slower each: what the ranks of one layer talk over."""


class Domains(msgspec.Struct, frozen=True, kw_only=True):
    """``island``: GPUs of a node with the fastest links among all of them; ``island_why``: who says so.

    ``between``: what is known of the way between all ``nodes``, ``between_bytes_per_s`` its rate; None: neither
    measured nor declared. ``rates``: of their pairs; None: pairs were not measured.
    """

    per_node: int
    island: int
    island_why: str
    between: str
    between_bytes_per_s: float | None
    nodes: tuple[str, ...] = ()
    rates: Rates | None = None
    joined: Islands | None = None
    """The islands as measured; None: nobody measured them."""

    def groups(self, deployment: Deployment) -> Groups:
        """Which nodes form each replica."""
        return grouped(self.nodes, deployment.nodes, self.rates)

    def way(self, deployment: Deployment) -> tuple[str, float | None]:
        """Between the nodes of its replicas, the slowest of them: that of all nodes, unless it goes around a link."""
        if self.rates is None or deployment.nodes == 1 or not self.rates.slow:
            return self.between, self.between_bytes_per_s
        neighbours = deployment.tp * deployment.dp <= self.per_node
        slowest = self.rates.of(self.groups(deployment).pairs(neighbours=neighbours))
        if slowest is None or slowest[0] in self.rates.slow:
            return self.between, self.between_bytes_per_s
        around = self.rates.of(self.rates.pairs)
        assert around is not None
        return f"{self.rates.told(slowest[0])} at least (around {self.rates.told(around[0])})", slowest[1]

    def tier(self, deployment: Deployment) -> int:
        """Of the ranks that wait for each other in every layer: of tensor parallelism, and of shared experts."""
        ranks = deployment.tp * deployment.dp
        if ranks > self.per_node:
            return ACROSS_NODES
        crosses = self.island < self.per_node and (ranks > self.island or self.island % ranks)
        return ACROSS_ISLANDS if crosses else INSIDE

    def orders(self, deployment: Deployment) -> Mapping[str, Order]:
        """Of the nodes whose GPUs its ranks must take in another order than by their numbers, to stay on links."""
        inside = self.joined is not None and self.tier(deployment) == INSIDE
        return self.joined.needed(deployment.tp * deployment.dp) if self.joined and inside else {}

    def cost(self, deployment: Deployment, architecture: Architecture) -> str:
        """One line; empty: it crosses nothing."""
        tier = self.tier(deployment)
        if tier == INSIDE:
            return ""
        moved = moved_bytes(architecture, deployment)
        each = f"{size(moved)} a token through every rank"
        if tier == ACROSS_ISLANDS:
            return f"crosses islands of {self.island} GPUs ({self.island_why}): {each}; bandwidth between not measured"
        between, bytes_per_s = self.way(deployment)
        if not bytes_per_s:
            return f"crosses nodes: {between}; {each}"
        took = seconds(moved / bytes_per_s)
        return f"crosses nodes: {between}; {each}, at least {took} of each decoded token"


def domains(snapshot: Snapshot, found: Accelerators) -> Domains:
    names = tuple(node.name for node in found.nodes)
    pairs = rates(snapshot, names)
    between, rate = between_nodes(snapshot, names, pairs)
    joined = islands.measured(found)
    island, why = (joined.size, joined.why) if joined is not None else _by_name(found.smallest.name)
    narrower = 0 < island < found.per_node
    return Domains(
        per_node=found.per_node,
        island=island if narrower else found.per_node,
        island_why=why if narrower else "",
        between=between,
        between_bytes_per_s=rate,
        nodes=names,
        rates=pairs,
        joined=joined,
    )


def _by_name(name: str) -> tuple[int, str]:
    """Where nobody measured it: what is known of such a device; 0: all of a node, or not known."""
    row = hardware.row_of(name)
    return (0, "") if row is None else (row.island, f"{row.name}: {row.links}")


def moved_bytes(architecture: Architecture, deployment: Deployment) -> int:
    """Bytes through each rank for one token: after attention, and after the MLP or the experts.

    Ranks with whole experts send a token to those of its experts and get it back: 2 · k · (n−1)/n messages.
    """
    message = architecture.hidden * DTYPE_BYTES[architecture.dtype]
    sharing, layers = deployment.tp * deployment.dp, len(architecture.layers)
    behind = sum(any(weight.expert for weight in layer.weights) for layer in architecture.layers)
    attention = layers * _all_reduce(deployment.tp)
    mlp = (layers - behind) * _all_reduce(deployment.tp)
    pairs = 2 * architecture.experts_per_token * (sharing - 1) / sharing if deployment.ep else _all_reduce(sharing)
    return int(message * (attention + mlp + behind * pairs))


def _all_reduce(ranks: int) -> float:
    """Messages through each rank."""
    return 2 * (ranks - 1) / ranks


def between_nodes(snapshot: Snapshot, names: tuple[str, ...], pairs: Rates | None) -> tuple[str, float | None]:
    """``busbw 1.2 GB/s between 4 nodes over bond0 (nccl, 64.0 MiB)``, or why it is not known; and bytes a second.

    What was declared; what NCCL's collective carried between these nodes alone; what the slowest pair of them did; what
    another collective did.
    """
    declared = snapshot.declared_link_bytes_per_s
    if declared:
        return f"{gbit_per_s(declared)} between nodes (declared)", declared
    told = [_told(one) for one in _collectives(snapshot, frozenset(names)) if pairs is None or _of_nccl(one, names)]
    best = next((one for one in told if one[1] is not None), None)
    slowest = None if pairs is None else pairs.of(pairs.pairs)
    if best is not None:
        return best
    if pairs is not None and slowest is not None and slowest[1]:
        return f"{pairs.told(slowest[0])}, the slowest of {len(pairs.pairs)} pairs", slowest[1]
    return _why_unknown(snapshot)


def _collectives(snapshot: Snapshot, names: frozenset[str]) -> Iterator[Collective]:
    """That of these nodes before that of more."""
    found = (getattr(snapshot, field) for field in ("collective", "without") if is_known(snapshot, field))
    yield from sorted((one for one in found if one is not None), key=lambda one: not names.issuperset(one.nodes))


def _of_nccl(measured: Collective, names: tuple[str, ...]) -> bool:
    return measured.backend == "nccl" and set(measured.nodes) <= set(names)


def _why_unknown(snapshot: Snapshot) -> tuple[str, float | None]:
    try:
        return _told(snapshot.collective)
    except NotMeasured as why:
        return f"busbw between nodes not measured: {why}", None


def _told(measured: Collective) -> tuple[str, float | None]:
    steps = [step for step in measured.steps if step.verified]
    if len(measured.nodes) < 2:  # noqa: PLR2004 - a pair
        return "busbw between nodes not measured: the collective ran on one node", None
    if not measured.finished or not steps:
        return f"busbw between nodes not measured: {measured.summary or 'the collective did not finish'}", None
    best = max(steps, key=lambda step: step.busbw_bytes_per_s)
    where = f" over {measured.interface}" if measured.interface else ""
    figure = f"busbw {gb_per_s(best.busbw_bytes_per_s)} between {len(measured.nodes)} nodes{where}"
    return f"{figure} ({measured.backend}, {size(best.size_bytes)})", best.busbw_bytes_per_s
