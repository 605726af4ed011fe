"""Which GPUs are joined by the fastest links, and what does a deployment pay that crosses them?

A ring all-reduce of n ranks moves 2(n−1)/n of its message through every rank; tensor parallelism makes two a layer, of
hidden size × bytes an element for each token (Megatron-LM, section 3). Time is that of the bytes alone, at the rate of
large messages: small ones wait longer. A pipeline hands the same on once a stage.
"""

from __future__ import annotations

import msgspec

from diag import hardware
from diag.facts.collective import Collective
from diag.facts.record import NotMeasured
from diag.facts.snapshot import Snapshot
from diag.planner import islands
from diag.planner.accelerators import Accelerators
from diag.planner.deployment import Deployment
from diag.planner.model.architecture import Architecture
from diag.planner.model.families.config import DTYPE_BYTES
from diag.units import gb_per_s, gbit_per_s, seconds, size

INSIDE, ACROSS_ISLANDS, ACROSS_NODES = 0, 1, 2
"""Slower each: what the ranks of one layer talk over."""


class Domains(msgspec.Struct, frozen=True, kw_only=True):
    """``island``: GPUs of a node with the fastest links among all of them; ``island_why``: who says so.

    ``between``: what is known of the way between nodes, ``between_bytes_per_s`` its busbw; None: neither measured nor
    declared.
    """

    per_node: int
    island: int
    island_why: str
    between: str
    between_bytes_per_s: float | None

    def tier(self, deployment: Deployment) -> int:
        """Of the ranks that wait for each other in every layer: of tensor parallelism, and of shared experts."""
        ranks = deployment.tp * deployment.dp
        if ranks > self.per_node:
            return ACROSS_NODES
        return ACROSS_ISLANDS if ranks > self.island else INSIDE

    def cost(self, deployment: Deployment, architecture: Architecture) -> str:
        """One line; empty: it crosses nothing."""
        tier = self.tier(deployment)
        if tier == INSIDE:
            return ""
        moved = moved_bytes(architecture, deployment)
        each = f"{size(moved)} a token through every rank"
        if tier == ACROSS_ISLANDS:
            return f"crosses islands of {self.island} GPUs ({self.island_why}): {each}; bandwidth between not measured"
        if self.between_bytes_per_s is None:
            return f"crosses nodes: {self.between}; {each}"
        took = seconds(moved / self.between_bytes_per_s)
        return f"crosses nodes: {self.between}; {each}, at least {took} of each decoded token"


def domains(snapshot: Snapshot, found: Accelerators) -> Domains:
    between, rate = between_nodes(snapshot)
    island, why = islands.measured(found) or _by_name(found.smallest.name)
    narrower = 0 < island < found.per_node
    return Domains(
        per_node=found.per_node,
        island=island if narrower else found.per_node,
        island_why=why if narrower else "",
        between=between,
        between_bytes_per_s=rate,
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


def between_nodes(snapshot: Snapshot) -> tuple[str, float | None]:
    """``busbw 1.2 GB/s between 4 nodes over bond0 (nccl, 64.0 MiB)``, or why it is not known; and bytes a second."""
    declared = snapshot.declared_link_bytes_per_s
    if declared:
        return f"{gbit_per_s(declared)} between nodes (declared)", declared
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
