"""What follows from a node's facts? Answers that several checks ask for; each raises NotMeasured like its facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_interface
from typing import TYPE_CHECKING

import msgspec

from diag.facts.collective import Blocked
from diag.facts.device import Gpu, PciDevice
from diag.facts.links import TCP, Flow, Links, usual
from diag.facts.network import Interface
from diag.facts.node import Node
from diag.facts.rails import End, ends
from diag.facts.record import NotMeasured, is_known, peek, unknown
from diag.facts.system import Filesystem
from diag.units import GIB

if TYPE_CHECKING:
    from diag.facts.snapshot import Snapshot


IDLE_BYTES = 2 * GIB
"""More than the driver itself holds of any idle GPU; a process that the driver does not show holds the rest."""
IDLE_BYTES_OF = {"ascend": 5 * GIB}
"""npu-smi shows 2.8 to 3.4 GiB of idle 910B and A3 chips in use, in public logs."""


def idle_bytes(gpu: Gpu) -> int:
    """What may be in use of a GPU on which nothing runs."""
    return IDLE_BYTES_OF.get(gpu.vendor, IDLE_BYTES)


def accelerators(node: Node) -> tuple[PciDevice, ...]:
    return tuple(device for device in node.devices if device.kind == "accelerator")


def hcas(node: Node) -> tuple[PciDevice, ...]:
    return tuple(device for device in node.devices if device.kind == "hca")


def has_rdma(node: Node) -> bool:
    """An HCA on the bus, or a device without one (soft-RoCE) that the kernel was seen to have."""
    return bool(hcas(node)) or (is_known(node, "hcas") and bool(node.hcas))


def rdma_ends(node: Node) -> tuple[End, ...]:
    """The ports of its RDMA devices, those of virtual functions only where there are no others."""
    return ends(node) if has_rdma(node) else ()


def active_ends(node: Node) -> tuple[End, ...]:
    return tuple(end for end in rdma_ends(node) if end.port.state == "active")


def several_nodes(cluster: Snapshot) -> bool:
    return len(cluster.nodes) > 1


NO_PAIRS = unknown("--pairs none")
"""In place of links that nobody wanted to be measured."""


def loads(cluster: Snapshot) -> bool:
    """Whether the run was asked for more than to look."""
    return cluster.level != "passive"


def pairs_wanted(cluster: Snapshot) -> bool:
    return bool(peek(cluster, "links") != NO_PAIRS)


def past_quick(cluster: Snapshot) -> bool:
    """Whether the run was asked for what level quick leaves out."""
    return cluster.level in ("normal", "burn")


def has_accelerator(node: Node) -> bool:
    return any(device.kind == "accelerator" for device in node.devices)


def has_nvidia(node: Node) -> bool:
    return any(device.vendor == "nvidia" and device.kind == "accelerator" for device in node.devices)


def nvidia_gpus(node: Node) -> tuple[Gpu, ...]:
    return tuple(gpu for gpu in node.gpus if gpu.vendor == "nvidia")


NAMED_GPUS = 4


def of_gpus(node: Node, says: Callable[[Gpu], str]) -> str:
    """What ``says`` of its NVIDIA GPUs, those of which it says nothing left out: ``gpu:3: x8 now; and 2 more``."""
    rows = [f"gpu:{gpu.index}: {said}" for gpu in nvidia_gpus(node) if (said := says(gpu))]
    more = f"; and {len(rows) - NAMED_GPUS} more" if len(rows) > NAMED_GPUS else ""
    return "; ".join(rows[:NAMED_GPUS]) + more


def in_container(node: Node) -> bool:
    return node.container.kind is not None


def sees_strangers(node: Node) -> bool:
    """Whether who uses its GPUs can be told from processes of ours: by pids that are the machine's own."""
    if not is_known(node, "container") or not is_known(node.container, "pids_of_machine"):
        return False
    return not in_container(node) and node.container.pids_of_machine


def is_local_only(address: str) -> bool:
    """Whether no other node can reach it: loopback, or link-local without a zone that peers share."""
    parsed = ip_address(address.split("%", maxsplit=1)[0])
    return parsed.is_loopback or parsed.is_link_local


def addresses(interface: Interface) -> tuple[str, ...]:
    """Without their prefix lengths: ``10.0.0.3``."""
    return tuple(address.split("/")[0] for address in interface.addresses)


def own_addresses(node: Node) -> frozenset[str]:
    return frozenset(address for interface in node.interfaces for address in addresses(interface))


CONVENTION, NEARLY_ALL = 3, 0.75
"""So many at least, and this share of the nodes, hold an address alike on purpose, as a gateway of virtual machines."""


def conventional(holding: int, known: int) -> bool:
    """Whether one address on ``holding`` of ``known`` nodes is no duplicate."""
    return holding >= CONVENTION and holding >= NEARLY_ALL * known


def data_interface(node: Node, cluster: Snapshot) -> Interface:
    """What carries data between nodes: named in the inventory, chosen for the collective, or holding the address."""
    name = node.data_interface or _chosen(node, cluster)
    for interface in node.interfaces:
        if interface.name == name or (name is None and node.address in addresses(interface)):
            return interface
    if name is not None:
        raise NotMeasured(f"there is no interface {name} on this node")
    raise NotMeasured(f"no interface holds {node.address}, to which diag connected; name one with interface=")


def _chosen(node: Node, cluster: Snapshot) -> str | None:
    """The interface that diag exported for the collective on this node."""
    if not is_known(cluster, "collective"):
        return None
    collective = cluster.collective
    return _by_name(collective.interfaces).get(node.name, collective.interface)


@lru_cache(maxsize=4)
def _by_name(interfaces: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Of a thousand nodes each check asks for its own."""
    return dict(interfaces)


class Link(msgspec.Struct, frozen=True):
    """One direction between two nodes on which data was exchanged before the collective, or ``blocked``.

    ``flow``: what the agents measured of it; None: this direction was not measured. ``rails``: what RDMA carried there.
    """

    source: str
    target: str
    blocked: Blocked | None
    flow: Flow | None = None
    rails: tuple[Flow, ...] = ()
    """What perftest measured of it by RDMA, rail by rail."""

    @property
    def measured(self) -> Flow:
        """Raises NotMeasured."""
        if self.flow is None:
            raise NotMeasured("only that it carries data was tried")
        return self.flow


def links(node: Node, cluster: Snapshot) -> tuple[Link, ...]:
    """The directions tried from this node. NotMeasured where none was."""
    if not several_nodes(cluster):
        return ()
    measured = _flows_from(node, cluster)
    flows = {target: flow for (target, method, _), flow in measured.items() if method == TCP}
    rails: dict[str, list[Flow]] = {}
    for flow in measured.values():
        rails.setdefault(flow.target, []).extend([flow] if flow.method != TCP else [])
    met = _met(node, cluster, required=not flows)
    names = dict.fromkeys([*flows, *met])
    return tuple(
        Link(node.name, target, met.get(target), flows.get(target), tuple(rails.get(target, ()))) for target in names
    )


def _flows_from(node: Node, cluster: Snapshot) -> dict[tuple[str, str, str | None], Flow]:
    """By target, method and rail."""
    if not is_known(cluster, "links"):
        return {}
    repeats: dict[tuple[str, str, str | None], list[Flow]] = {}
    for flow in _by_source(cluster.links).get(node.name, ()):
        repeats.setdefault((flow.target, flow.method, flow.rail), []).append(flow)
    return {way: usual(flows) for way, flows in repeats.items()}


_sorted: list[tuple[Links, dict[str, list[Flow]]]] = []
"""Of the links that were asked for last: each node of a thousand asks."""


def _by_source(links: Links) -> dict[str, list[Flow]]:
    if not _sorted or _sorted[0][0] is not links:
        found: dict[str, list[Flow]] = {}
        for flow in links.flows:
            found.setdefault(flow.source, []).append(flow)
        _sorted[:] = [(links, found)]
    return _sorted[0][1]


def _met(node: Node, cluster: Snapshot, *, required: bool) -> dict[str, Blocked | None]:
    """Whom it met before the collective: the first node all others, the others the first one."""
    if not required and not is_known(cluster, "collective"):
        return {}
    collective = cluster.collective
    blocked = {pair.target: pair for pair in collective.blocked if pair.source == node.name}
    first, *others = collective.nodes or (None,)
    targets = () if node.name not in collective.nodes else others if node.name == first else (first,)
    if required and not blocked and not targets:
        raise NotMeasured(dict(collective.excluded).get(node.name, "took no part"))
    return {target: blocked.get(target) for target in dict.fromkeys([*targets, *blocked])}


def networks(interface: Interface) -> frozenset[str]:
    """Of its IPv4 addresses, in CIDR; a network of one address (``/32``) is none."""
    found = (ip_interface(address).network for address in interface.addresses if ":" not in address)
    return frozenset(str(network) for network in found if network.num_addresses > 1)


def package(node: Node, name: str) -> str | None:
    """Version of a Python distribution; None: not installed."""
    return next((package.version for package in node.software.packages if package.name == name), None)


def setting(node: Node, name: str) -> str | None:
    """Value of an environment variable or configuration line, the environment first; None: not set.

    Raises NotMeasured where a file could not be read that comes before the first line with that name.
    """
    found = [entry for entry in node.settings if entry.name in {name, ""}]
    found.sort(key=lambda entry: entry.source != "environment")
    return found[0].value if found else None


def names_set(node: Node) -> frozenset[str]:
    """All variables that are set. Raises NotMeasured where a file could not be read that may set more."""
    return frozenset(entry.name for entry in node.settings if entry.name or entry.value)


def filesystem(node: Node, use: str) -> Filesystem | None:
    """The file system of that use; None: the node has none."""
    return next((fs for fs in node.filesystems if fs.use == use), None)


def usable_memory_bytes(node: Node) -> int:
    """RAM that a new process could get: what is available, within the cgroup's limit."""
    available = node.memory.available_bytes
    limit = node.memory.cgroup_limit_bytes
    if limit is None:
        return available
    return min(available, limit - (node.memory.cgroup_used_bytes or 0))


def gpu_users(gpus: Sequence[Gpu]) -> list[int] | None:
    """Who used them when the facts were taken: whoever came since is a newcomer. None: that is not known."""
    if not all(is_known(gpu, "processes") for gpu in gpus):
        return None
    return sorted({process.pid for gpu in gpus for process in gpu.processes})
