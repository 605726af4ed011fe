"""What makes NCCL use the right GID: nothing where it finds it, else a family or a network, else an index per node?

Nothing is set before its own choice was proven wrong: by its log, or by a pair test that failed for its GID where its
rules pick another than the right one. Before 2.21 it makes no choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from diag.facts.derived import setting
from diag.facts.node import Node
from diag.facts.rdma import Gid
from diag.facts.record import NotMeasured, is_known
from diag.facts.snapshot import Snapshot
from diag.inventory.nodesets import fold
from diag.planner.network import gids
from diag.planner.network.choice import links_among
from diag.planner.network.ports import ETHERNET, Port, active, left_out, why_failed
from diag.planner.network.variables import Library, Variable

CAUSE = "roce_gid_index"
INDEX = "IB_GID_INDEX"

Wanted = Mapping[str, Mapping[tuple[str, int], Gid]]
"""Node -> port -> the right GID; only ports that have one."""


def variables(nodes: Sequence[Node], snapshot: Snapshot, library: Library) -> Iterator[Variable | str]:
    """And notes of what no variable repairs. Raises NotMeasured where HCAs or GIDs are not known."""
    roce = _roce(nodes, snapshot)
    versions = [gids.version(node) for node in nodes]
    known = [version for version in versions if version is not None]
    if not any(roce.values()) or len(known) < len(nodes):
        return
    wanted = _wanted(nodes, roce)
    if min(known) < gids.CHOOSES:
        told = ".".join(map(str, min(known)))
        if any(gid.index for ports in wanted.values() for gid in ports.values()):
            yield from _indices(wanted, library, f"NCCL {told} takes index 0 (it chooses a GID since 2.21)")
    elif proof := _proven_wrong(nodes, snapshot, roce, wanted):
        yield from _steered(nodes, roce, wanted, library, proof)


def _roce(nodes: Sequence[Node], snapshot: Snapshot) -> dict[str, list[Port]]:
    out = left_out(nodes, links_among(nodes, snapshot))
    return {
        node.name: [
            port
            for port in active(node)
            if port.facts.link_layer == ETHERNET and port.key not in out.get(node.name, {})
        ]
        for node in nodes
    }


def _wanted(nodes: Sequence[Node], roce: Mapping[str, Sequence[Port]]) -> Wanted:
    """In networks that all nodes have; where there is none, the first of one family that every port has."""
    shared = gids.shared_networks(nodes, [[port.facts for port in roce[node.name]] for node in nodes])
    found = {
        node.name: {port.key: gid for port in roce[node.name] if (gid := gids.right(port.facts, node, shared))}
        for node in nodes
    }
    every = [port for ports in roce.values() for port in ports]
    for ipv6 in (False, True):
        if not any(found.values()) and all(gids.of_family(port.facts, ipv6=ipv6) for port in every):
            return {
                name: {port.key: gids.of_family(port.facts, ipv6=ipv6)[0] for port in ports}
                for name, ports in roce.items()
            }
    return found


def _proven_wrong(nodes: Sequence[Node], snapshot: Snapshot, roce: Mapping[str, Sequence[Port]], wanted: Wanted) -> str:
    """Empty: it was not."""
    for node in nodes:
        right = {gid.index for gid in wanted[node.name].values()}
        if (used := _logged(node, snapshot)) and right and not set(used) & right:
            return f"NCCL's log on {node.name} shows GID {used[0]}, {_told(node.name, wanted)}"
    links = links_among(nodes, snapshot)
    for flow in links.flows if links is not None else ():
        for name in (flow.source, flow.target):
            if flow.cause == CAUSE and name in roce and _differs(roce[name], wanted[name]):
                said = f"{flow.method} from {flow.source} to {flow.target} failed: {why_failed(flow)}"
                return f"{said}; {_told(name, wanted)}"
    return ""


def _logged(node: Node, snapshot: Snapshot) -> tuple[int, ...]:
    """Where it went between nodes; inside one queue pairs are made only where GPUs do not reach each other."""
    between = dict(snapshot.collective.logs) if is_known(snapshot, "collective") else {}
    if node.name in between and between[node.name].gids:
        return between[node.name].gids
    try:
        return node.speed.collectives.log.gids
    except NotMeasured:
        return ()


def _told(name: str, wanted: Wanted) -> str:
    first = next(iter(wanted[name].items()), None)
    if first is None:
        return f"{name} has no RoCE v2 GID of IPv4 in a network that all share"
    return f"the one of RoCE v2 is {first[1].index} ({first[1].ipv4 or first[1].gid} on {first[0][0]})"


def _differs(ports: Sequence[Port], wanted: Mapping[tuple[str, int], Gid]) -> bool:
    return any(gids.chosen(port.facts) != wanted.get(port.key) for port in ports)


def _steered(
    nodes: Sequence[Node], roce: Mapping[str, Sequence[Port]], wanted: Wanted, library: Library, proof: str
) -> Iterator[Variable | str]:
    """The first that leads to the right one on every port: a network, IPv6; else an index."""
    every = [port for ports in roce.values() for port in ports]
    if (network := _network(nodes, roce, wanted)) is not None:
        why = f"{proof}; the right ones are in {network}"
        yield _for_all(f"{library.prefix}IB_ADDR_RANGE", str(network), roce, why)
    elif all(_answered(gids.chosen(port.facts, gids.Wish(ipv6=True))) for port in every):
        why = f"{proof}; every port has one of IPv6"
        yield _for_all(f"{library.prefix}IB_ADDR_FAMILY", "AF_INET6", roce, why)
    else:
        yield from _indices(wanted, library, f"{proof}; neither a network nor a family leads to it")


def _network(nodes: Sequence[Node], roce: Mapping[str, Sequence[Port]], wanted: Wanted) -> gids.Network | None:
    """Around all right GIDs, if NCCL's rules then lead to them."""
    every = [(node, port.facts, wanted[node.name].get(port.key)) for node in nodes for port in roce[node.name]]
    found = [gids.network_of(gid, node) for node, _, gid in every if gid is not None]
    network = gids.covering([one for one in found if one is not None])
    if network is None or None in found or len(found) < len(every):
        return None
    wish = gids.Wish(network=network)
    return network if all(gids.chosen(port, wish) == gid for _, port, gid in every) else None


def _answered(gid: Gid | None) -> bool:
    return gid is not None and gid.kind == gids.V2 and not gid.link_local and gid.ipv4 is None


def _for_all(name: str, value: str, nodes: Mapping[str, object], why: str) -> Variable:
    return Variable(name=name, values=tuple((node, value) for node in nodes), why=why)


def _indices(wanted: Wanted, library: Library, why: str) -> Iterator[Variable | str]:
    """One a node; nothing where a node has no port with a right GID, a note where its ports need different ones."""
    each = {name: {gid.index for gid in ports.values()} for name, ports in wanted.items()}
    if not all(each.values()):
        return
    for name, ports in wanted.items():
        if len(each[name]) > 1:
            needs = ", ".join(f"{hca} {gid.index}" for (hca, _), gid in ports.items())
            remedy = "upgrade NCCL to 2.21, or give the ports of a node their addresses in the same order"
            yield f"{why}; {name} needs another GID index on each port ({needs}): no variable says that; {remedy}"
            return
    values = tuple((name, str(*indices)) for name, indices in each.items())
    places: dict[str, list[str]] = {}
    for name, value in values:
        places.setdefault(value, []).append(name)
    told = ", ".join(f"{value} on {fold(names)}" for value, names in places.items())
    ipv6 = any(gid.ipv4 is None for ports in wanted.values() for gid in ports.values())
    family = "IPv6" if ipv6 else "IPv4"
    yield Variable(name=f"{library.prefix}{INDEX}", values=values, why=f"{why}; RoCE v2 of {family} is {told}")


def index_set_wrongly(nodes: Sequence[Node], snapshot: Snapshot, library: Library) -> Variable | None:
    """An index that somebody set and that is not RoCE v2 on a node: NCCL since 2.21 is told to choose by itself."""
    roce = _roce(nodes, snapshot)
    name = f"{library.prefix}{INDEX}"
    for node in nodes:
        value = setting(node, name) if is_known(node, "settings") else None
        if value is None or not value.isdigit() or (gids.version(node) or (0, 0)) < gids.CHOOSES:
            continue
        for port in roce[node.name]:
            gid = next((one for one in port.facts.gids if one.index == int(value)), None)
            if gid is None or gid.kind != gids.V2 or gid.link_local:
                kind = "empty" if gid is None else f"{gid.kind} {gid.gid}"
                why = f"{name}={value} is set on {node.name}, and GID {value} of {port.hca} is {kind}; -1: NCCL chooses"
                return _for_all(name, "-1", roce, why)
    return None
