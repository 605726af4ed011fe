"""Through which interface does a node send to an address? Longest prefix, then lowest metric, as the kernel."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from diag.facts.leads import Address, route_to
from diag.facts.node import Node
from diag.facts.record import is_known

PEERS_AT_MOST = 64
"""Looked up per node: of thousands of peers, those after the first are behind the same routes."""


def detour(nodes: Sequence[Node], interfaces: Sequence[str], addresses: Sequence[str]) -> str:
    """One line for the first node that sends to a peer through another interface; empty: none, or routes not known."""
    peers = [(node.name, ipaddress.ip_address(address)) for node, address in zip(nodes, addresses, strict=True)]
    for node, interface in zip(nodes, interfaces, strict=True):
        for peer, address in peers[:PEERS_AT_MOST]:
            taken = interface_to(node, address) if peer != node.name else None
            if taken is not None and taken != interface:
                return f"{node.name} sends to {address} ({peer}) through {taken}"
    return ""


def interface_to(node: Node, address: Address) -> str | None:
    """None: no route leads there, or the node's routes are not known."""
    best = route_to(node.routes if is_known(node, "routes") else (), address)
    return best.interface if best else None


def default_interfaces(node: Node) -> tuple[str, ...]:
    """Of the default routes, the preferred one first."""
    routes = node.routes if is_known(node, "routes") else ()
    defaults = sorted((one for one in routes if one.destination == "default"), key=lambda route: route.metric)
    return tuple(route.interface for route in defaults)
