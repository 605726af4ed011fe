"""What is set so that NCCL uses the right HCAs, or no RDMA at all where it was proven to fail?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from diag.facts.derived import setting
from diag.facts.links import TCP, Links
from diag.facts.node import Node
from diag.facts.record import is_known
from diag.facts.selectors import selector
from diag.facts.snapshot import Snapshot
from diag.inventory.nodesets import fold
from diag.planner.network.ports import Out, Port, active, carries_rdma, left_out, why_failed
from diag.planner.network.variables import Library, Variable


def links_among(nodes: Sequence[Node], snapshot: Snapshot) -> Links | None:
    """What was measured between ``nodes``: a link to another one says nothing of a launch without it."""
    if not is_known(snapshot, "links"):
        return None
    names = {node.name for node in nodes}
    inside = tuple(flow for flow in snapshot.links.flows if {flow.source, flow.target} <= names)
    return msgspec.structs.replace(snapshot.links, flows=inside)


def hcas(nodes: Sequence[Node], snapshot: Snapshot, library: Library) -> Iterator[Variable | str]:
    """And notes of what is set already, or cannot be said. Raises NotMeasured where they are not known."""
    out = left_out(nodes, links_among(nodes, snapshot))
    kept = {node.name: [port for port in active(node) if port.key not in out.get(node.name, {})] for node in nodes}
    wrong = {node.name: why for node in nodes if (why := _takes_none(node, kept[node.name], library))}
    values = {
        node.name: _spelled(active(node), out.get(node.name, {}), library)
        for node in nodes
        if out.get(node.name) or node.name in wrong
    }
    if values:
        why = "; ".join((*([_why_out(out)] if any(out.values()) else []), *wrong.values()))
        yield Variable(name=f"{library.prefix}IB_HCA", values=tuple(values.items()), why=why)
    places: dict[str, list[str]] = {}
    for node in nodes:
        for note in _notes(node, kept[node.name], values.get(node.name), library):
            places.setdefault(note, []).append(node.name)
    yield from (f"{fold(names)}: {note}" for note, names in places.items())


def _set(node: Node, name: str) -> str | None:
    return setting(node, name) if is_known(node, "settings") else None


def _takes_none(node: Node, kept: Sequence[Port], library: Library) -> str:
    """Why what is set has to be replaced: of the ports that would do it takes none; empty: it need not."""
    name = f"{library.prefix}IB_HCA"
    value = _set(node, name)
    if value is None or not kept or any(selector(value).takes(*port.key) for port in kept):
        return ""
    return f"{name}={value} is set on {node.name} and takes none of its ports that carry data"


def _notes(node: Node, kept: Sequence[Port], value: str | None, library: Library) -> Iterator[str]:
    """What else is set there, or what a value takes beyond what is meant."""
    name, off = f"{library.prefix}IB_HCA", f"{library.prefix}IB_DISABLE"
    if _set(node, off) == "1" and kept:
        yield f"{off}=1 is set: {len(kept)} RDMA ports are not used; unset it, or set it on all nodes"
    own = _set(node, name)
    unused = [port.rail for port in kept if own is not None and not selector(own).takes(*port.key)]
    if value is None and unused:
        yield f"{name}={own} is set and leaves out {', '.join(unused)}, which would do as well"
    keys = {port.key for port in kept}
    also = [port.rail for port in active(node) if value and port.key not in keys and selector(value).takes(*port.key)]
    if also:
        also_takes = f"{name}={value} also takes {', '.join(also)} if names are prefixes, as NCCL's are"
        yield f"{also_takes}: no sign for exact names is known to its library"


def _why_out(out: Out) -> str:
    places: dict[str, list[str]] = {}
    for name, found in out.items():
        for (hca, _), why in found.items():
            places.setdefault(f"{hca} {why}", []).append(name)
    return "; ".join(f"{why} (left out on {fold(names)})" for why, names in places.items())


def _spelled(ports: Sequence[Port], out: Mapping[tuple[str, int], str], library: Library) -> str:
    """By exact names: those to leave out where they are fewer, else those to take."""
    leave = _words(ports, {port.key for port in ports if port.key in out})
    take = _words(ports, {port.key for port in ports if port.key not in out})
    return "^" + library.named(leave) if library.exact and 0 < len(leave) < len(take) else library.named(take)


def _words(ports: Sequence[Port], meant: set[tuple[str, int]]) -> list[str]:
    """An HCA by its name where all its ports are meant, else each port."""
    every = {port.hca: {other.key for other in ports if other.hca == port.hca} for port in ports}
    whole = [hca for hca, keys in every.items() if keys <= meant]
    parts = [f"{hca}:{number}" for hca, number in sorted(meant) if hca not in whole]
    return [*whole, *parts]


def broken(nodes: Sequence[Node], snapshot: Snapshot, library: Library) -> Variable | None:
    """RDMA off: only where every pair test of a node failed, the collective did not end, and sockets work."""
    links = links_among(nodes, snapshot)
    if links is None or not is_known(snapshot, "collective") or snapshot.collective.finished:
        return None
    over_tcp = [one for one in links.flows if one.method == TCP]
    if not over_tcp or not all(is_known(one, "bytes_per_s") for one in over_tcp):
        return None
    for name in sorted(node.name for node in nodes):
        own = [one for one in links.flows if name in (one.source, one.target) and carries_rdma(one)]
        if own and all(one.cause and not is_known(one, "bytes_per_s") for one in own):
            told = f"every RDMA test of {name} failed ({why_failed(own[0])}), all {len(over_tcp)} flows over TCP passed"
            why = f"{told}, and the collective did not end: {snapshot.collective.summary}"
            values = tuple((node.name, "1") for node in nodes)
            return Variable(name=f"{library.prefix}IB_DISABLE", values=values, why=why)
    return None
