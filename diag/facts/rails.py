"""Which RDMA ports of two nodes belong together (a rail), and with which GID does a port speak to others?

HCAs of the same name are on the same rail: machines of one kind name them alike, and a rail-optimised fabric connects
the same ones. Where two nodes share no name, their HCAs go by the order of their PCI addresses. What lies on different
rails is not tried: on a rail-only fabric it cannot reach. Nor are ports of different link layers, whatever they are
called: InfiniBand and Ethernet do not speak to each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from diag.facts.node import Node
from diag.facts.rdma import Gid, Hca, RdmaPort
from diag.facts.record import is_known

ETHERNET = "Ethernet"


class End(msgspec.Struct, frozen=True):
    """A port of one node's HCA."""

    hca: Hca
    port: RdmaPort

    @property
    def name(self) -> str:
        """``mlx5_0``; a second port is named too: ``mlx4_0/2``."""
        return self.hca.name if self.port.number == 1 else f"{self.hca.name}/{self.port.number}"


class Rail(msgspec.Struct, frozen=True):
    one: End
    other: End

    @property
    def name(self) -> str:
        return self.one.name


def rails(one: Node, other: Node) -> tuple[Rail, ...]:
    """Those on which both have a port, whatever its state, but for ports that are down on both. Raises NotMeasured."""
    ours, theirs = _ends(one), _ends(other)
    if ours.keys() & theirs.keys():
        pairs = [(end, theirs[name]) for name, end in ours.items() if name in theirs]
    else:
        layers = dict.fromkeys(end.port.link_layer for end in ours.values())
        pairs = [
            pair for layer in layers for pair in zip(_in_order(ours, layer), _in_order(theirs, layer), strict=False)
        ]
    alike = [(mine, yours) for mine, yours in pairs if mine.port.link_layer == yours.port.link_layer]
    return tuple(Rail(mine, yours) for mine, yours in alike if "active" in {mine.port.state, yours.port.state})


def ends(node: Node) -> tuple[End, ...]:
    """Its ports; those of virtual functions only where there are no others. Raises NotMeasured."""
    real = [hca for hca in node.hcas if not hca.virtual_function]
    return tuple(End(hca, port) for hca in real or node.hcas for port in hca.ports)


def _ends(node: Node) -> Mapping[str, End]:
    return {end.name: end for end in ends(node)}


def _in_order(named: Mapping[str, End], layer: str) -> list[End]:
    of_layer = (end for end in named.values() if end.port.link_layer == layer)
    return sorted(of_layer, key=lambda end: (end.hca.pci_address or "", end.name))


def speaking_gid(port: RdmaPort) -> Gid | None:
    """Of RoCE the one that reaches through routers: v2 of an IPv4 address, else of another that is not link-local.

    Its interface is of this network namespace. None: InfiniBand needs none, or there is none. Raises NotMeasured.
    """
    if port.link_layer != ETHERNET:
        return None
    usable = [gid for gid in port.gids if gid.kind == "roce_v2" and gid.interface is not None and not gid.link_local]
    usable.sort(key=lambda gid: (gid.ipv4 is None, gid.index))
    return usable[0] if usable else None


def gid_index(port: RdmaPort) -> int | None:
    gid = speaking_gid(port) if is_known(port, "gids") else None
    return gid.index if gid is not None else None
