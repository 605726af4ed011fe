"""Which subjects does a check name as arguments, and which of them does a Snapshot hold?

``node``, its parts (``gpu``, ``device``, ``interface``, ``filesystem``, an RDMA ``port``, a ``link`` that leaves it)
and the whole ``cluster``; beside any of them ``peers``: all nodes, for comparing. A check is called once for each of
the smallest subject it names.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from diag.facts.derived import accelerators, links, rdma_ends
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.record import NotMeasured, is_known
from diag.facts.snapshot import Snapshot


class Part(msgspec.Struct, frozen=True):
    """Parts of a node: how to list them, what a verdict calls one, what is said where there is none."""

    of: Callable[[Node, Snapshot], tuple[Any, ...]]
    label: Callable[[Any], str]
    absent: str


def _gpus(node: Node, _: Snapshot) -> tuple[Any, ...]:
    """No GPU is believed only where the bus shows no accelerator either."""
    if not node.gpus and accelerators(node):
        raise NotMeasured(f"{len(accelerators(node))} accelerators on the bus, none answered")
    return node.gpus


PARTS = {
    "gpu": Part(_gpus, lambda gpu: f"gpu:{gpu.index}", "no accelerator"),
    "device": Part(
        lambda node, _: node.devices, lambda device: f"device:{device.address}", "no accelerator and no HCA"
    ),
    "interface": Part(lambda node, _: node.interfaces, lambda nic: f"interface:{nic.name}", "no network interface"),
    "filesystem": Part(lambda node, _: node.filesystems, lambda fs: f"filesystem:{fs.path}", "no file system"),
    "port": Part(
        lambda node, _: rdma_ends(node), lambda end: f"port:{end.hca.name}/{end.port.number}", "no RDMA device"
    ),
    "link": Part(links, lambda link: f"link:{link.source}>{link.target}", "one node: no link to another"),
}

PART_PLACE = 3
PLACES = {"cluster": 0, "peers": 1, "node": 2} | dict.fromkeys(PARTS, PART_PLACE)
"""Where in a scene (cluster, peers, node, part) each subject stands."""

Scene = tuple[Snapshot, Peers, Node | None, Any]


def places_of(function: Callable[..., Any]) -> tuple[tuple[str, int], ...]:
    """The arguments of ``function`` that are subjects, with their places."""
    return tuple((name, PLACES[name]) for name in inspect.signature(function).parameters if name in PLACES)


def part_of(names: Iterable[str]) -> str | None:
    """The one part of a node among ``names``; None: whole nodes or the cluster. Raises ValueError for two."""
    parts = [name for name in names if name in PARTS]
    if len(parts) > 1:
        raise ValueError(f"names {' and '.join(parts)}: a check is about one part of a node")
    return parts[0] if parts else None


def is_per_node(names: Iterable[str]) -> bool:
    return any(name == "node" or name in PARTS for name in names)


def unreached(node: Node) -> str | None:
    """Why nothing at all is known of a node; None: something is."""
    if node.reach.outcome == "answered" or is_known(node, "agent"):
        return None
    return f"not reached: {node.reach.summary or node.reach.outcome}"
