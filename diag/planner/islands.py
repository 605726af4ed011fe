"""Which GPUs of a node do the vendor's own links join all to all, as measured?

Ranks take GPUs in their order, so an island counts only as far as its GPUs are neighbours in number: of 0-3 and 4-7
islands have 4 GPUs, of the even and the odd ones 1.
"""

from __future__ import annotations

from collections.abc import Iterable

from diag.facts.node import Node
from diag.facts.record import is_known
from diag.planner.accelerators import Accelerators

LINK = "link"


def measured(found: Accelerators) -> tuple[int, str] | None:
    """GPUs of the smallest island of all nodes, and who says so. None: no node knows, or none has such links."""
    linked = {node.name: _linked(node) for node in found.nodes if is_known(node, "between")}
    if not any(linked.values()):
        return None
    sizes = {name: _neighbours(pairs, found.per_node) for name, pairs in linked.items()}
    smallest = min(sizes, key=lambda name: sizes[name])
    return sizes[smallest], f"measured on {smallest}: links join {sizes[smallest]}"


def _linked(node: Node) -> frozenset[frozenset[str]]:
    return frozenset(frozenset((pair.a, pair.b)) for pair in node.between if pair.path == LINK)


def _neighbours(linked: frozenset[frozenset[str]], per_node: int) -> int:
    """The largest part of a node such that all GPUs of each part are joined."""
    return next(
        size
        for size in range(per_node, 0, -1)
        if per_node % size == 0 and all(_joined(range(at, at + size), linked) for at in range(0, per_node, size))
    )


def _joined(gpus: Iterable[int], linked: frozenset[frozenset[str]]) -> bool:
    names = [f"gpu:{index}" for index in gpus]
    return all(frozenset((one, other)) in linked for one in names for other in names if one < other)
