"""Which interface of each node carries data between the nodes, and why that one?

A pure function of facts: nothing is tried here. The best network is one that all nodes share, each with an address of
its own; where every node has a network to itself (routed fabrics), it is what carries the address that was reached.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from diag.facts.derived import conventional
from diag.facts.network import Interface
from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known
from diag.routing import default_interfaces, detour
from diag.units import gbit_per_s

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REAL, BRIDGE, VIRTUAL = 2, 1, 0
MERIT = {"physical": REAL, "infiniband": REAL, "bond": REAL, "vlan": REAL, "bridge": BRIDGE}
"""Kinds of interface; a veth or a tunnel only where there is nothing better (it may be all that a container has)."""
PAIR = 2
USABLE_STATES = ("up", "unknown", "dormant")
"""Virtual devices often never say ``up``."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a node takes part: its interface, and the address on it that the others dial."""

    node: str
    interface: str
    address: str


@dataclass(frozen=True, kw_only=True)
class Choice:
    """``left_out``: nodes without a usable interface, with why."""

    places: tuple[Place, ...] = ()
    why: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Offer:
    """One address of one interface of a node."""

    node: str
    interface: Interface
    address: Address
    network: Network

    @property
    def place(self) -> Place:
        return Place(node=self.node, interface=self.interface.name, address=str(self.address))

    @property
    def merit(self) -> int:
        return MERIT.get(self.interface.kind, VIRTUAL)

    @property
    def bits_per_s(self) -> int:
        return (self.interface.speed_bits_per_s or 0) if is_known(self.interface, "speed_bits_per_s") else 0


def choose(nodes: Sequence[Node]) -> Choice:
    """The interface of every node, in the order of ``nodes``."""
    if len(nodes) == 1:
        return _alone(nodes[0])
    offers: dict[str, list[_Offer]] = {}
    left_out: dict[str, str] = {}
    for node in nodes:
        try:
            offers[node.name] = _offers(node)
        except NotMeasured as why:
            left_out[node.name] = str(why)
    there = [node for node in nodes if node.name in offers]
    shared = _shared(there, offers)
    if not shared:
        return _routed(there, offers, left_out)
    best = max(shared, key=lambda network: _preference(network, shared[network], there))
    because = _because(there, shared[best], f"all {len(there)} nodes have an address in {best} on it", offers)
    return Choice(places=tuple(offer.place for offer in shared[best]), why=because, left_out=left_out)


def _alone(node: Node) -> Choice:
    """One node talks to itself: over its loopback, unless the inventory names another or it has none."""
    try:
        loopback = [one for one in node.interfaces if one.kind == "loopback" and _held(one)]
        if loopback and node.data_interface is None:
            place = Place(node=node.name, interface=loopback[0].name, address=str(_held(loopback[0])[0].ip))
            return Choice(places=(place,), why="one node: nothing leaves it")
        best = max(_offers(node), key=lambda offer: (offer.merit, offer.bits_per_s))
    except NotMeasured as why:
        return Choice(left_out={node.name: str(why)})
    return Choice(places=(best.place,), why="named in the inventory" if node.data_interface else "its loopback is down")


# -- what a node offers


def _offers(node: Node) -> list[_Offer]:
    """Every address that another node could dial. Raises NotMeasured where there is none."""
    usable = [one for one in node.interfaces if _is_usable(one)]
    if node.data_interface is not None:
        names = ", ".join(one.name for one in usable) or "none"
        usable = [one for one in usable if one.name == node.data_interface]
        if not usable:
            raise NotMeasured(f"interface: found {names}, expected {node.data_interface}, which the inventory names")
    if not usable:
        raise NotMeasured("no interface has an address that other nodes could dial")
    return [
        _Offer(node=node.name, interface=one, address=held.ip, network=held.network)
        for one in usable
        for held in _held(one)
    ]


def _is_usable(interface: Interface) -> bool:
    carries = interface.kind != "loopback" and not interface.virtual_bridge
    return carries and interface.state in USABLE_STATES and bool(_held(interface))


def _held(interface: Interface) -> list[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    """IPv4 first; link-local addresses need a scope that differs from node to node."""
    held = [ipaddress.ip_interface(text) for text in interface.addresses]
    return sorted((one for one in held if not one.ip.is_link_local), key=lambda one: one.version)


# -- a network that all share


def _shared(nodes: Sequence[Node], offers: Mapping[str, Sequence[_Offer]]) -> dict[Network, list[_Offer]]:
    """Networks in which every node has an address that no other node has (docker0 is alike everywhere)."""
    common = _common(nodes, offers)
    return {network: held for network, held in common.items() if len({one.address for one in held}) == len(held)}


def _common(nodes: Sequence[Node], offers: Mapping[str, Sequence[_Offer]]) -> dict[Network, list[_Offer]]:
    """Networks in which every node has an address, whoever else has the same."""
    found: dict[Network, dict[str, _Offer]] = {}
    for node in nodes:
        for offer in offers[node.name]:
            found.setdefault(offer.network, {}).setdefault(node.name, offer)
    return {
        network: [held[node.name] for node in nodes]
        for network, held in found.items()
        if nodes and len(held) == len(nodes)
    }


def _preference(network: Network, held: Sequence[_Offer], nodes: Sequence[Node]) -> tuple[int, int, int, int, str]:
    """The weakest member counts; then the network that was reached, IPv4, and the name, so that runs agree."""
    reached = sum(str(offer.address) == node.address for offer, node in zip(held, nodes, strict=True))
    slowest = min(offer.bits_per_s for offer in held)
    return min(offer.merit for offer in held), slowest, reached, -network.version, held[0].interface.name


# -- a network of its own for every node


def _routed(nodes: Sequence[Node], offers: Mapping[str, Sequence[_Offer]], left_out: dict[str, str]) -> Choice:
    taken = {node.name: offer for node in nodes if (offer := _reached(node, offers[node.name]))}
    left_out |= {
        node.name: f"none of its {len(offers[node.name])} addresses was reached, nor carries its default route"
        for node in nodes
        if node.name not in taken
    }
    for address, times in Counter(offer.address for offer in taken.values()).items():
        if times > 1:
            alike = [name for name, offer in taken.items() if offer.address == address]
            left_out |= {name: f"{' and '.join(alike)} have the same address {address}" for name in alike}
    held = [offer for name, offer in taken.items() if name not in left_out]
    there = [node for node in nodes if node.name not in left_out]
    because = _because(
        there, held, "no network is common to all nodes: it carries the address that was reached", offers
    )
    return Choice(places=tuple(offer.place for offer in held), why=because, left_out=left_out)


def _reached(node: Node, offers: Sequence[_Offer]) -> _Offer | None:
    """What was connected to; behind a translated address, what carries the default route, or the only one there is."""
    for offer in offers:
        if str(offer.address) == node.address:
            return offer
    for interface in default_interfaces(node):
        for offer in offers:
            if offer.interface.name == interface:
                return offer
    return offers[0] if len({offer.interface.name for offer in offers}) == 1 else None


# -- why


def _because(nodes: Sequence[Node], held: Sequence[_Offer], reason: str, offers: Mapping[str, Sequence[_Offer]]) -> str:
    named = sum(node.data_interface is not None for node in nodes)
    there = f"named in the inventory for {named} of {len(nodes)} nodes" if named else ""
    around = detour(nodes, [offer.interface.name for offer in held], [str(offer.address) for offer in held])
    better = _doubled(nodes, held, offers) or _faster(held, offers)
    return "; ".join(part for part in (there, reason, f"but {around}" if around else "", better) if part)


def _doubled(nodes: Sequence[Node], held: Sequence[_Offer], offers: Mapping[str, Sequence[_Offer]]) -> str:
    """A faster network that all share and that is lost because two of them hold one address in it."""
    slowest = min((offer.bits_per_s for offer in held), default=0)
    for network, common in _common(nodes, offers).items():
        rate = min(offer.bits_per_s for offer in common)
        for address, times in Counter(offer.address for offer in common).items():
            alike = [offer for offer in common if offer.address == address]
            if rate > slowest and alike[0].merit == REAL and times > 1 and not conventional(times, len(common)):
                names = " and ".join(offer.node for offer in alike[:PAIR])
                lost = f"{alike[0].interface.name} ({network}, {gbit_per_s(rate / 8)}) is lost"
                return f"{lost}: {names} hold the same address {address}"
    return ""


def _faster(held: Sequence[_Offer], offers: Mapping[str, Sequence[_Offer]]) -> str:
    """A faster interface that not all nodes share: the user will ask why it was not taken."""
    slowest = min((offer.bits_per_s for offer in held), default=0)
    networks = {name: {offer.network for offer in offered} for name, offered in offers.items()}
    for node, offered in offers.items():
        for offer in offered:
            if offer.merit == REAL and offer.bits_per_s > slowest > 0:
                without = next((other for other in offers if offer.network not in networks[other]), None)
                if without is not None:
                    rate = gbit_per_s(offer.bits_per_s / 8)
                    return f"{offer.interface.name} of {node} has {rate}, but {without} is not in its network"
    return ""
