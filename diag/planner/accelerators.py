"""Which GPUs can a plan count on, and how much memory has the tightest of them?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from diag.facts.device import Gpu, GpuProcess
from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known
from diag.facts.snapshot import Snapshot
from diag.planner.measurements import not_allocatable
from diag.planner.unknown import NotKnown
from diag.units import MIB, size

BEYOND = "GPUs beyond"
TAKEN = 0.1
"""Share of memory that others hold on a node which might better be left out."""
NOISE = 256 * MIB
"""What could not be allocated is told above this: allocators work in larger pieces than drivers count."""
PROHIBITED = "prohibited"
"""Compute mode in which no process gets a context."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU. ``where`` is ``gpu03:2``; ``holders`` says who holds memory on it, empty: nobody seen."""

    where: str
    name: str
    total_bytes: int
    free_bytes: int
    holders: str
    vendor: str = ""
    capability: tuple[int, int] | None = None
    """Compute capability; None: the vendor has none, or it was not read."""

    @property
    def told(self) -> str:
        """``gpu03:2 has 68.9 of 79.2 GiB free (pid 4121, nvidia-smi dmon)``."""
        held = f" ({self.holders})" if self.holders else ""
        return f"{self.where} has {size(self.free_bytes)} of {size(self.total_bytes)} free{held}"


class Accelerators(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes a plan is for, all with at least ``per_node`` GPUs, and what was left out: see ``selections``."""

    nodes: tuple[Node, ...]
    per_node: int
    devices: tuple[Device, ...]
    left_out: tuple[str, ...]

    @property
    def tightest(self) -> Device:
        """The one with the smallest free share: a fraction of memory holds for all ranks alike."""
        return min(self.devices, key=lambda device: device.free_bytes / device.total_bytes)

    @property
    def smallest(self) -> Device:
        return min(self.devices, key=lambda device: device.total_bytes)


def selections(found: Accelerators) -> tuple[Accelerators, ...]:
    """All nodes; and, where some have fewer GPUs or less free memory than the others, those others alone.

    A plan for fewer nodes is worth it only where the whole is worse: who plans compares them.
    """
    most = max(len(node.gpus) for node in found.nodes)
    fullest = _without(
        found, lambda node: f"{len(node.gpus)} GPUs, other nodes {most}" if len(node.gpus) < most else ""
    )
    idlest = max(_least_free(found, node) for node in found.nodes)

    def taken(node: Node) -> str:
        tight = min(_of(found, node), key=_free_share)
        return tight.told if idlest - _free_share(tight) > TAKEN else ""

    several = (found, fullest, *(_without(one, taken) for one in (found, fullest) if one is not None))
    return tuple(dict.fromkeys(one for one in several if one is not None))


def quicker(found: Accelerators, slow: Mapping[str, str]) -> tuple[Accelerators, ...]:
    """Without the ``slow`` nodes (name -> what its links carried); nothing where there is none, or no other."""
    quickest = _without(found, lambda node: slow.get(node.name, ""))
    return () if quickest is None else (quickest,)


def _without(found: Accelerators, why: Callable[[Node], str]) -> Accelerators | None:
    """None: nobody is left out, or nobody stays."""
    reasons = {node.name: why(node) for node in found.nodes}
    kept = tuple(node for node in found.nodes if not reasons[node.name])
    if not kept or len(kept) == len(found.nodes):
        return None
    left_out = tuple(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    names = {node.name for node in kept}
    return msgspec.structs.replace(
        found,
        nodes=kept,
        per_node=min(len(node.gpus) for node in kept),
        devices=tuple(device for device in found.devices if device.where.rpartition(":")[0] in names),
        left_out=(*(line for line in found.left_out if not line.startswith(BEYOND)), *left_out),
    )


def _of(found: Accelerators, node: Node) -> tuple[Device, ...]:
    return tuple(device for device in found.devices if device.where.rpartition(":")[0] == node.name)


def _free_share(device: Device) -> float:
    return device.free_bytes / device.total_bytes


def _least_free(found: Accelerators, node: Node) -> float:
    return min(_free_share(device) for device in _of(found, node))


def nodes_without_accelerator(snapshot: Snapshot) -> tuple[Node, ...]:
    """Nodes on which absence is proven: nothing on the bus, and no GPU named by a library."""
    return tuple(node for node in snapshot.nodes if _absent(node))


def accelerators(snapshot: Snapshot) -> Accelerators | None:
    """None: no node has a readable GPU. ``NotKnown`` where some have GPUs that cannot be read, or that are divided."""
    usable: list[Node] = []
    left_out: list[str] = []
    for node in snapshot.nodes:
        why = _why_not(node)
        if why is None:
            usable.append(node)
        else:
            left_out.append(f"{node.name}: {why}")
    if not usable:
        return None
    per_node = min(len(node.gpus) for node in usable)
    most = max(len(node.gpus) for node in usable)
    if most > per_node:
        left_out.append(f"{BEYOND} {per_node} a node: nodes have {per_node} to {most}")
    return Accelerators(
        nodes=tuple(usable),
        per_node=per_node,
        devices=tuple(_device(node, gpu) for node in usable for gpu in node.gpus),
        left_out=tuple(left_out),
    )


def unreadable(snapshot: Snapshot) -> str | None:
    """Where no node has readable GPUs: a node that has some on its bus; or, where none shows its bus, any of them."""
    if not snapshot.nodes:
        return "the Snapshot has no node"
    for node in snapshot.nodes:
        if is_known(node, "devices") and _on_the_bus(node):
            return f"{node.name}: {_why_not(node)}"
    proven = any(_absent(node) for node in snapshot.nodes)
    return None if proven else f"{snapshot.nodes[0].name}: {_why_not(snapshot.nodes[0])}"


def _absent(node: Node) -> bool:
    try:
        return not node.gpus and not _on_the_bus(node)
    except NotMeasured:
        return False


def _on_the_bus(node: Node) -> bool:
    return any(device.kind == "accelerator" for device in node.devices)


def _why_not(node: Node) -> str | None:
    """Why the plan cannot use a node; None: it can."""
    try:
        if any(is_known(gpu, "compute_mode") and gpu.compute_mode == PROHIBITED for gpu in node.gpus):
            return f"a GPU in compute mode {PROHIBITED}"
        if node.gpus:
            return None
        return "GPUs on the bus, but no library that reads them" if _on_the_bus(node) else "no accelerator"
    except NotMeasured as why:
        on_bus = is_known(node, "devices") and _on_the_bus(node)
        return f"GPUs on the bus, but not readable: {why}" if on_bus else f"GPUs not measured: {why}"


def _device(node: Node, gpu: Gpu) -> Device:
    where = f"{node.name}:{gpu.index}"
    if is_known(gpu, "mig") and gpu.mig:
        raise NotKnown(f"{where} is divided by MIG", "plan on undivided GPUs, or switch MIG off")
    try:
        total, free = gpu.total_bytes, gpu.free_bytes
        if not 0 <= free <= total or not total:
            raise NotKnown(f"memory of {where}: {free} of {total} bytes free", "see what its driver's tool says")
    except NotMeasured as why:
        raise NotKnown(f"memory of {where}: {why}", "measure again where the driver's library can be read") from why
    unusable = not_allocatable(node, gpu.index)
    processes = gpu.processes if is_known(gpu, "processes") else ()
    return Device(
        where=where,
        name=gpu.name,
        total_bytes=total,
        free_bytes=max(0, free - unusable),
        holders=_holders(processes, unusable),
        vendor=gpu.vendor,
        capability=_capability(gpu),
    )


def _capability(gpu: Gpu) -> tuple[int, int] | None:
    if not is_known(gpu, "compute_capability") or gpu.compute_capability is None:
        return None
    major, _, minor = gpu.compute_capability.partition(".")
    return (int(major), int(minor or 0)) if major.isdigit() and (minor or "0").isdigit() else None


def _holders(processes: Iterable[GpuProcess], unusable: int) -> str:
    told = [f"pid {process.pid}, {process.name or 'name not visible'}" for process in processes if not process.ours]
    if unusable > NOISE:
        told.append(f"{size(unusable)} that the driver calls free could not be allocated")
    return "; ".join(told)
