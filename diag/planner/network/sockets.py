"""Which interface would NCCL and GLOO take by themselves on a node, and is it the one that carries data?

NCCL (misc/socket.cc of 2.30, ncclFindInterfaces): what begins with ``ib``; else all but ``docker``, ``lo``, ``virbr``;
else docker, lo, virbr; running ones with an address, and its socket transport uses all of those. HCCL (its page
HCCL_SOCKET_IFNAME): the first by name but docker and lo. GLOO in torch (ProcessGroupGloo, createDefaultDevice): what
the node's own name resolves to, if that can be bound; else the loopback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from diag.data_interface import choose
from diag.facts.derived import addresses, setting
from diag.facts.network import Interface
from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known
from diag.facts.selectors import selector
from diag.facts.snapshot import Snapshot
from diag.inventory.nodesets import fold
from diag.planner.network.variables import Library, Variable

RUNNING = ("up", "unknown")
"""States in which the kernel sets IFF_RUNNING."""
LAST_OF_NCCL = ("docker", "lo", "virbr")
LAST_OF_HCCL = ("docker", "lo")
GLOO = "GLOO_SOCKET_IFNAME"


def carrying(nodes: Sequence[Node], snapshot: Snapshot) -> tuple[dict[str, str], str]:
    """Node -> its interface, and why that one; nothing where it is not known of every node."""
    found, why = _measured(snapshot)
    if all(node.name in found for node in nodes):
        return {node.name: found[node.name] for node in nodes}, why
    chosen = choose(nodes)
    found = {place.node: place.interface for place in chosen.places}
    return (found, chosen.why) if len(found) == len(nodes) else ({}, "")


def _measured(snapshot: Snapshot) -> tuple[dict[str, str], str]:
    """Of the collective; the one name that it was given holds for all nodes."""
    if not is_known(snapshot, "collective"):
        return {}, ""
    collective = snapshot.collective
    why = "carried the measured collective between the nodes"
    if collective.interface:
        return dict.fromkeys((node.name for node in snapshot.nodes), collective.interface), why
    return dict(collective.interfaces), why


def variables(nodes: Sequence[Node], snapshot: Snapshot, library: Library | None) -> Iterator[Variable]:
    """None where each node takes the right one by itself."""
    carries, why = carrying(nodes, snapshot)
    if not carries:
        return
    if library is not None:
        name, own = f"{library.prefix}SOCKET_IFNAME", _by_hccl if library.prefix == "HCCL_" else by_nccl

        def wrong_library(node: Node) -> str:
            return _wrong(node, name, carries[node.name], own)

        if asked := _asked(nodes, wrong_library):
            values = tuple((node.name, library.named((carries[node.name],))) for node in nodes)
            yield Variable(name=name, values=values, why=f"{_told(carries)} {why}; {asked}")
    if asked := _asked(nodes, lambda node: _wrong_gloo(node, carries[node.name])):
        values = tuple((node.name, carries[node.name]) for node in nodes)
        yield Variable(name=GLOO, values=values, why=f"{_told(carries)} {why}; {asked}")


def _told(carries: Mapping[str, str]) -> str:
    return ", ".join(dict.fromkeys(carries.values()))


def _asked(nodes: Sequence[Node], wrong: Callable[[Node], str]) -> str:
    """What would be taken instead, and where; empty: nowhere another."""
    places: dict[str, list[str]] = {}
    for node in nodes:
        if said := wrong(node):
            places.setdefault(said, []).append(node.name)
    told = [f"{said} on {fold(names)}" for said, names in places.items()]
    return told[0] + (f", and {len(told) - 1} more such reasons" if len(told) > 1 else "") if told else ""


def _wrong(node: Node, name: str, carries: str, own: Callable[[Node], tuple[str, ...]]) -> str:
    try:
        value = setting(node, name) if is_known(node, "settings") else None
        if value is not None:
            taken = tuple(one.name for one in running(node) if selector(value).takes(one.name))
            if taken != (carries,):
                return f"{name}={value}, which is set there, takes {', '.join(taken) or 'nothing'}"
        taken = own(node)
    except NotMeasured:
        return "what would be taken without it is not known"
    return "" if taken == (carries,) else f"without it {', '.join(taken) or 'nothing'} would be taken"


def _wrong_gloo(node: Node, carries: str) -> str:
    try:
        value = setting(node, GLOO) if is_known(node, "settings") else None
        if value is not None and value != carries:
            return f"{GLOO}={value} is set there"
        own = node.hostname.addresses
        held = {address for one in node.interfaces if one.name == carries for address in addresses(one)}
    except NotMeasured:
        return "what would be taken without it is not known"
    if own and own[0] in held:
        return ""
    return (
        f"without it GLOO binds {own[0]}, to which its own name resolves," if own else "its own name does not resolve"
    )


def running(node: Node) -> tuple[Interface, ...]:
    return tuple(one for one in node.interfaces if one.state in RUNNING and one.addresses)


def by_nccl(node: Node) -> tuple[str, ...]:
    names = [one.name for one in running(node)]
    of_ib = tuple(name for name in names if name.startswith("ib"))
    others = tuple(name for name in names if not name.startswith(LAST_OF_NCCL))
    last = (tuple(name for name in names if name.startswith(prefix)) for prefix in LAST_OF_NCCL)
    return of_ib or others or next((found for found in last if found), ())


def _by_hccl(node: Node) -> tuple[str, ...]:
    names = sorted(one.name for one in running(node))
    others = [name for name in names if not name.startswith(LAST_OF_HCCL)]
    return tuple((others or names)[:1])
