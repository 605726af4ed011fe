"""What joins the GPUs and HCAs of a node? NVLinks and paths as the driver says, the rest from where they hang.

The words are those of ``nvidia-smi topo -m``: ``link`` for its NV#, PIX: at most one PCIe switch between two devices,
PXB: several, PHB: their host bridge, NODE: two host bridges of one NUMA node, SYS: two NUMA nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from diag.facts.device import Between, Gpu
from diag.facts.record import Missing, NotMeasured, is_known, peek
from diag.probes import gpus, vendors
from diag.probes.gpus import Place
from diag.probes.gpus_nvml import SWITCH, GpuRow, Nvml
from diag.probes.probe import Answers, Probe, always, maybe, told

ANCESTORS = {0: "PIX", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}
"""NVML's levels; 0: two GPUs on one board, behind its own switch."""
P2P = (
    "ok", "chipset not supported", "GPU not supported", "topology not supported", "disabled by registry key",
    "not supported", "unknown",
)  # fmt: skip
BELOW_ONE_SWITCH = 2
"""Parts of a path below the part that two devices share: a port of the switch, and nothing else but the device."""
OF_HOST = 1
"""Parts of a path that belong to the root: the host bridge."""


def read(answers: Answers) -> tuple[Between, ...]:
    """Raises NotMeasured where the GPUs are not known, or none of them says where it hangs."""
    known = gpus.read(answers)
    if not known:
        return ()
    tree = maybe(lambda: gpus.places(answers))
    if isinstance(tree, Missing):
        raise NotMeasured(tree.why)
    nvml = maybe(lambda: told(answers, "gpus", Nvml))
    rows = {} if isinstance(nvml, Missing) else {row.index: row for row in nvml.gpus}
    found = vendors.over((*_of_gpus(known, rows, tree), *_of_hcas(known, tree)), answers)
    if not found and len(known) > 1:
        raise NotMeasured("no two GPUs say what joins them")
    return found


def _of_gpus(known: tuple[Gpu, ...], rows: Mapping[int, GpuRow], tree: Mapping[str, Place]) -> Iterator[Between]:
    for one, other in combinations(known, 2):
        row = rows.get(one.index)
        said = next((pair for pair in (row and row.pairs) or () if pair.other == other.index), None)
        links = _links(row, rows.get(other.index))
        way = "link" if links else ANCESTORS.get(said.ancestor if said and said.ancestor is not None else -1)
        way = way or _way(_place(one, tree), _place(other, tree))
        if way is not None:
            statuses = (said.there, said.back) if said else (None,)
            yield Between(a=_name(one), b=_name(other), path=way, links=links, p2p=_p2p(statuses))


def _of_hcas(known: tuple[Gpu, ...], tree: Mapping[str, Place]) -> Iterator[Between]:
    for gpu in known:
        for place in tree.values():
            way = _way(_place(gpu, tree), place) if place.kind == "hca" else None
            if way is not None:
                yield from (Between(a=_name(gpu), b=name, path=way) for name in place.rdma or (place.address,))


def _name(gpu: Gpu) -> str:
    return f"gpu:{gpu.index}"


def _place(gpu: Gpu, tree: Mapping[str, Place]) -> Place | None:
    return tree.get(peek(gpu, "pci_address")) if is_known(gpu, "pci_address") else None


def _links(one: GpuRow | None, other: GpuRow | None) -> int:
    """Active NVLinks that lead from one to the other: directly, or as many as both have to the switches."""
    ours, theirs = (row.links or () if row else () for row in (one, other))
    address = (other.pci_address or "") if other else ""
    direct = sum(link.active and link.remote is not None and link.remote == address for link in ours)
    switched = min(sum(link.active and link.remote_kind == SWITCH for link in links) for links in (ours, theirs))
    return direct or switched


def _p2p(statuses: tuple[int | None, ...]) -> str | None:
    """Of both directions the worse; None: the driver did not say."""
    told_ = [status for status in statuses if status is not None]
    worst = max(told_, default=None)
    return None if worst is None else P2P[min(worst, len(P2P) - 1)]


def _way(one: Place | None, other: Place | None) -> str | None:
    """By how much of their paths two devices share; None: where one hangs is not known."""
    if one is None or other is None or not one.path or not other.path:
        return None
    shared = 0
    for mine, yours in zip(one.path, other.path, strict=False):
        if mine != yours:
            break
        shared += 1
    if shared < OF_HOST:
        return "NODE" if one.numa_node == other.numa_node else "SYS"
    if shared == OF_HOST:
        return "PHB"
    below = max(len(one.path), len(other.path)) + 1 - shared
    return "PIX" if below <= BELOW_ONE_SWITCH else "PXB"


PROBE = Probe(topic="between", requests=always(), read=read)
"""Everything it needs is asked for by the GPUs' probe."""
