"""Does an interface of a node lead to the other nodes, so far as their addresses and routes tell?

Nothing is tried here. What only a default route could answer is not known: the gateway may pass it on, or not.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from diag.facts.derived import addresses, is_local_only, own_addresses
from diag.facts.network import Interface, Route
from diag.facts.node import Node
from diag.facts.record import is_known

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PEERS_AT_MOST = 16
"""Asked of thousands: those after the first are behind the same routes."""


def leads(interface: Interface, node: Node, peers: Sequence[Node]) -> bool | None:
    """Whether the others reach ``node`` there; False: most of them cannot; None: not known."""
    others = [peer for peer in peers if peer.name != node.name and is_known(peer, "interfaces")][:PEERS_AT_MOST]
    dialled = [own for own in addresses(interface) if not is_local_only(own)]
    if not dialled or interface.kind == "loopback":
        return False
    answers = [_any(_reaches(peer, own, interface) for own in dialled) for peer in others]
    if answers and all(answers):
        return True
    return False if 2 * answers.count(False) > len(answers) else None


def _any(answers: Iterable[bool | None]) -> bool | None:
    known = list(answers)
    return True if True in known else None if None in known else False


def _reaches(peer: Node, address: str, interface: Interface) -> bool | None:
    """Whether ``peer`` sends to ``address`` by an interface that leaves it."""
    if address in own_addresses(peer):
        return False
    routes = peer.routes if is_known(peer, "routes") else ()
    route = route_to(routes, ipaddress.ip_address(address))
    near = route is not None and route.destination != "default"
    by = route.interface if near and route is not None else _beside(peer, address)
    if by is None:
        return False if interface.virtual_bridge or (routes and route is None) else None
    return not any(one.name == by and (one.virtual_bridge or one.kind == "loopback") for one in peer.interfaces)


def _beside(peer: Node, address: str) -> str | None:
    """The interface of ``peer`` in whose network the address lies."""
    for one in peer.interfaces:
        if any(ipaddress.ip_address(address) in ipaddress.ip_interface(held).network for held in one.addresses):
            return one.name
    return None


def route_to(routes: Iterable[Route], address: Address) -> Route | None:
    """Longest prefix, then lowest metric, as the kernel; None: none leads there."""
    leading = [(length, route) for route in routes if (length := _prefix(route, address)) is not None]
    return max(leading, key=lambda found: (found[0], -found[1].metric))[1] if leading else None


def _prefix(route: Route, address: Address) -> int | None:
    """Length of the prefix that leads to ``address``; None: the route does not."""
    if route.destination == "default":
        other_version = route.gateway is not None and ipaddress.ip_address(route.gateway).version != address.version
        return None if other_version else 0
    network = ipaddress.ip_network(route.destination, strict=False)
    return network.prefixlen if address in network else None
