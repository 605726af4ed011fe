"""What do all GPUs of a cluster reach, side by side, and which are behind? Asked once for a Snapshot; pure.

Compared are figures of one kind from GPUs of one model. Unverified figures are none, nor those of GPUs in use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from diag.facts.alone import whole_gpus
from diag.facts.expected import Expected, all_reduce
from diag.facts.islands import fewest_links, paths
from diag.facts.node import Node
from diag.facts.outliers import Slow, slow
from diag.facts.record import is_known
from diag.facts.speed import NodeCollectives

if TYPE_CHECKING:
    from diag.facts.snapshot import Snapshot

Kind = tuple[str, str]
"""Model of the GPU, and dtype or kind of copy."""
Place = tuple[str, int]
"""Node and GPU."""


def measured(nodes: Iterable[Node]) -> Iterator[Node]:
    return (node for node in nodes if is_known(node, "speed") and is_known(node, "gpus"))


def models(node: Node) -> dict[int, str]:
    return {gpu.index: gpu.name for gpu in node.gpus}


def slow_gemms(cluster: Snapshot) -> dict[Kind, dict[Place, Slow]]:
    """By dtype; of sustained rates."""
    rates: dict[Kind, dict[Place, float]] = {}
    for node in measured(cluster.nodes):
        names = whole_gpus(node)
        for row in node.speed.gemms if is_known(node.speed, "gemms") else ():
            if row.verified and row.gpu in names:
                kind = (names[row.gpu], row.dtype)
                rates.setdefault(kind, {})[node.name, row.gpu] = row.sustained_flops_per_s
    return {kind: slow(each) for kind, each in rates.items()}


def slow_copies(cluster: Snapshot) -> dict[Kind, dict[Place, Slow]]:
    """By kind; of host copies those with the memory of the GPU's own NUMA node."""
    rates: dict[Kind, dict[Place, float]] = {}
    for node in measured(cluster.nodes):
        names = whole_gpus(node)
        for row in node.speed.bandwidths if is_known(node.speed, "bandwidths") else ():
            if row.verified and row.near is not False and row.gpu in names:
                rates.setdefault((names[row.gpu], row.kind), {})[node.name, row.gpu] = row.bytes_per_s
    return {kind: slow(each) for kind, each in rates.items()}


def slow_pairs(cluster: Snapshot) -> dict[str, dict[tuple[int, int], Slow]]:
    """Node -> (source, target), of those that reach each other directly; beside pairs that are joined as they are."""
    rates: dict[tuple[str, str, int], dict[tuple[str, int, int], float]] = {}
    for node in measured(cluster.nodes):
        names, ways = whole_gpus(node), paths(node)
        for row in node.speed.p2p if is_known(node.speed, "p2p") else ():
            if row.verified and row.direct and {row.source, row.target} <= names.keys():
                way = ways.get(frozenset((row.source, row.target)))
                kind = (names[row.source], way.path if way else "", way.links if way else 0)
                rates.setdefault(kind, {})[node.name, row.source, row.target] = row.bytes_per_s
    found: dict[str, dict[tuple[int, int], Slow]] = {}
    for each in rates.values():
        for (name, source, target), late in slow(each).items():
            found.setdefault(name, {})[source, target] = late
    return found


def slow_all_reduces(cluster: Snapshot) -> dict[str, Slow]:
    return slow_together(cluster.nodes)


def slow_together(nodes: Iterable[Node]) -> dict[str, Slow]:
    """Nodes whose largest eager all-reduce is behind that of nodes with as many GPUs of the same model."""
    rates: dict[tuple[str, int], dict[str, float]] = {}
    for node in measured(nodes):
        if is_known(node.speed, "collectives"):
            names, together = set(models(node).values()), node.speed.collectives
            largest = together.largest("all_reduce")
            if largest is not None and largest.verified and len(whole_gpus(node)) == len(node.gpus):
                kind = ("/".join(sorted(names)), together.world_size)
                rates.setdefault(kind, {})[node.name] = largest.busbw_bytes_per_s
    return {name: late for each in rates.values() for name, late in slow(each).items()}


def published(node: Node, together: NodeCollectives, *, nvls: bool | None) -> Expected | None:
    """What others reached with as many GPUs of the model, joined by as many links; None: nobody told.

    Raises NotMeasured where that depends on links of which nothing is known.
    """
    names = set(models(node).values())
    found = all_reduce(names.pop(), together.world_size, nvls=nvls) if len(names) == 1 else None
    apart = found is not None and found.links and fewest_links(node, together.gpus) < found.links
    return None if apart else found


def digests(cluster: Snapshot) -> dict[str, Counter[str]]:
    """Model and software -> how many of all such GPUs have which digest."""
    found: dict[str, Counter[str]] = {}
    for node in measured(cluster.nodes):
        for row in node.speed.fingerprints if is_known(node.speed, "fingerprints") else ():
            found.setdefault(row.kind, Counter())[row.rounded] += 1
    return found
