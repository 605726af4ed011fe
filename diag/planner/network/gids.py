"""Which GID does NCCL use on a RoCE port, and what makes it use the right one where its own choice was proven wrong?

Its rules (transport/net_ib/connect.cc of 2.30, ncclIbGetGidIndex): the first of the wanted family and network, of RoCE
v2 before v1, since 2.21; before, index 0 unless another is set. The right one is a RoCE v2 GID with an IPv4 address in
a network that every node has; on a routed fabric, where each node has networks of its own, the first of IPv4; where
there is none, of IPv6. It does not know what a switch drops.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import msgspec

from diag.facts.node import Node
from diag.facts.rdma import Gid, RdmaPort
from diag.facts.record import NotMeasured, is_known

V2 = "roce_v2"
Network = ipaddress.IPv4Network
CHOOSES: tuple[int, int] = (2, 21)
"""NCCL's version from which on it chooses a GID."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What steers the choice: an address family and a network."""

    ipv6: bool = False
    network: Network | None = None

    def is_met(self, gid: Gid) -> bool:
        if self.ipv6:
            return gid.ipv4 is None
        return gid.ipv4 is not None and self._inside(gid.ipv4)

    def _inside(self, address: str) -> bool:
        return self.network is None or ipaddress.IPv4Address(address) in self.network


def chosen(port: RdmaPort, wish: Wish | None = None) -> Gid | None:
    """What NCCL since 2.21 uses; None: index 0 is empty and nothing else will do. Raises NotMeasured."""
    wish = wish or Wish()
    taken = next((gid for gid in port.gids if gid.index == 0), None)
    for gid in sorted(port.gids, key=lambda one: one.index):
        if gid.index and _better(gid, taken, wish):
            taken = gid
    return taken


def _better(gid: Gid, than: Gid | None, wish: Wish) -> bool:
    """Another family is taken whatever its version; inside the wanted one, v2 before v1."""
    if not wish.is_met(gid):
        return False
    of_ipv4 = than is not None and than.ipv4 is not None
    if of_ipv4 != (gid.ipv4 is not None):
        return True
    if gid.link_local or gid.kind != V2:
        return False
    return than is None or than.kind != V2 or than.link_local


def usable(port: RdmaPort) -> bool:
    """Whether it has any GID that another node can answer."""
    return any(gid.kind == V2 and not gid.link_local for gid in port.gids)


def network_of(gid: Gid, node: Node) -> Network | None:
    """Of its address, as the interface has it; None: neither is known."""
    if gid.ipv4 is None or not is_known(node, "interfaces"):
        return None
    for interface in node.interfaces:
        for address in interface.addresses:
            held = ipaddress.ip_interface(address)
            if isinstance(held, ipaddress.IPv4Interface) and str(held.ip) == gid.ipv4:
                return held.network
    return None


def right(port: RdmaPort, node: Node, shared: frozenset[Network]) -> Gid | None:
    """The first in a network that every node has; None: there is none."""
    return next((gid for gid in of_family(port, ipv6=False) if network_of(gid, node) in shared), None)


def of_family(port: RdmaPort, *, ipv6: bool) -> list[Gid]:
    """Those of RoCE v2 that routers pass on, by index."""
    found = [gid for gid in port.gids if gid.kind == V2 and not gid.link_local and (gid.ipv4 is None) == ipv6]
    return sorted(found, key=lambda gid: gid.index)


def shared_networks(nodes: Sequence[Node], ports: Sequence[Sequence[RdmaPort]]) -> frozenset[Network]:
    """Networks of RoCE v2 GIDs that all of ``nodes`` have."""
    each = [
        {net for port in own for gid in port.gids if gid.kind == V2 and (net := network_of(gid, node)) is not None}
        for node, own in zip(nodes, ports, strict=True)
    ]
    return frozenset(set.intersection(*each)) if each else frozenset()


def covering(networks: Sequence[Network]) -> Network | None:
    """The smallest network around all of them."""
    found = networks[0] if networks else None
    while found is not None and not all(one.subnet_of(found) for one in networks):
        found = found.supernet() if found.prefixlen else None
    return found


def version(node: Node) -> tuple[int, int] | None:
    """Of the NCCL that the engine's interpreter loads: what torch says, else what is installed; None: not known."""
    for told in (_of_torch(node), _installed(node)):
        major, _, rest = (told or "").partition(".")
        minor = rest.partition(".")[0]
        if major.isdigit() and minor.isdigit():
            return int(major), int(minor)
    return None


def _of_torch(node: Node) -> str | None:
    try:
        return None if node.torch_view is None else node.torch_view.nccl
    except NotMeasured:
        return None


def _installed(node: Node) -> str | None:
    try:
        return node.software.nccl
    except NotMeasured:
        return None
