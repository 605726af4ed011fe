"""How much RAM could an engine get on a node?"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known
from diag.facts.system import Memory
from diag.planner.unknown import NotKnown
from diag.units import size


class Ram(msgspec.Struct, frozen=True, kw_only=True):
    """``certain`` False: of several NUMA nodes it was not measured what each has left; an equal share is taken."""

    node: Node
    available_bytes: int
    certain: bool
    source: str


def least_ram(nodes: Sequence[Node]) -> Ram:
    """The node with the least, among ``nodes``; ``NotKnown`` where one was not measured."""
    return min((_ram(node) for node in nodes), key=lambda ram: ram.available_bytes)


def _ram(node: Node) -> Ram:
    try:
        memory, cpus = node.memory, node.system.cpus
        whole = min(memory.available_bytes, _cgroup_room(memory))
        numa, certain = _of_one_numa_node(node, whole)
    except NotMeasured as why:
        raise NotKnown(f"RAM and cores of {node.name}: {why}", "measure again: diag run") from why
    limit = " under its cgroup's limit" if whole < memory.available_bytes else ""
    source = f"{node.name} has {size(whole)} of RAM available{limit}, {cpus} CPUs"
    if numa < whole:
        source += f"; {size(numa)} of it in one NUMA node{'' if certain else ' (an equal share: not measured)'}"
    return Ram(node=node, available_bytes=numa, certain=certain, source=source)


def _cgroup_room(memory: Memory) -> int:
    if not is_known(memory, "cgroup_limit_bytes") or memory.cgroup_limit_bytes is None:
        return memory.available_bytes
    return memory.cgroup_limit_bytes - (memory.cgroup_used_bytes or 0)


def _of_one_numa_node(node: Node, whole: int) -> tuple[int, bool]:
    """The engine binds a rank to one NUMA node and refuses a KV cache larger than what is available there."""
    memory = node.memory
    if is_known(memory, "numa_available_bytes") and memory.numa_available_bytes:
        return min(whole, *memory.numa_available_bytes), True
    numa_nodes = node.system.numa_nodes
    return whole // max(1, numa_nodes), numa_nodes <= 1
