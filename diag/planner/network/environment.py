"""Which variables does a launch over several nodes need for its network, each for a reason, and what is not repaired?

The least that suffices: what the library finds by itself is not told to it. What makes RDMA unusable is named, never
hidden by switching RDMA off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from diag.facts.node import Node
from diag.facts.record import NotMeasured
from diag.facts.snapshot import Snapshot
from diag.inventory.nodesets import fold
from diag.planner.network import choice, gid_choice, ports, sockets
from diag.planner.network.variables import LIBRARIES, Library, Variable


class NetworkEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """``notes``: what is wrong or missing and no variable repairs."""

    variables: tuple[Variable, ...] = ()
    notes: tuple[str, ...] = ()


NONE = NetworkEnvironment()


def environment(nodes: Sequence[Node], snapshot: Snapshot, vendor: str) -> NetworkEnvironment:
    """Of one launch over ``nodes``, with GPUs of ``vendor``."""
    library = LIBRARIES.get(vendor)
    found = list(sockets.variables(nodes, snapshot, library))
    if library is None:
        unread = f"variables of the library of {vendor} are not known: only GLOO's is set"
        return NetworkEnvironment(variables=tuple(found), notes=(unread,))
    if not library.chooses_ports:
        return NetworkEnvironment(variables=tuple(found))
    unusable = tuple(_unusable(nodes))
    of_rdma = [] if unusable else list(_of_rdma(nodes, snapshot, library))
    found += [one for one in of_rdma if isinstance(one, Variable)]
    told = [one for one in of_rdma if isinstance(one, str)]
    return NetworkEnvironment(variables=tuple(found), notes=(*unusable, *told, *_skipped(nodes, library)))


def _of_rdma(nodes: Sequence[Node], snapshot: Snapshot, library: Library) -> Iterator[Variable | str]:
    """And notes. Nothing where HCAs are not known, or not of all nodes."""
    try:
        if (off := choice.broken(nodes, snapshot, library)) is not None:
            yield off
            return
        yield from choice.hcas(nodes, snapshot, library)
        if library.chooses_gids:
            wrong = gid_choice.index_set_wrongly(nodes, snapshot, library)
            yield from (wrong,) if wrong is not None else gid_choice.variables(nodes, snapshot, library)
    except NotMeasured:
        return


def _unusable(nodes: Sequence[Node]) -> Iterator[str]:
    """RDMA that is there and cannot be used."""
    for why, names in _places(nodes, ports.why_unusable).items():
        yield f"RDMA of {fold(names)} cannot be used: {why}; no variable is set that would hide it"


def _skipped(nodes: Sequence[Node], library: Library) -> Iterator[str]:
    """Ports that are down. That they are skipped was read of NCCL."""
    for why, names in _places(nodes, _down).items():
        skips = "NCCL leaves it out by itself, no variable is needed"
        unread = "whether its library leaves it out by itself was not read"
        yield f"{why} on {fold(names)}: {skips if library.prefix == 'NCCL_' else unread}"


def _down(node: Node) -> str:
    return "" if ports.why_unusable(node) else ", ".join(ports.down(node))


def _places(nodes: Sequence[Node], says: Callable[[Node], str]) -> dict[str, list[str]]:
    """What is said -> of which nodes."""
    places: dict[str, list[str]] = {}
    for node in nodes:
        try:
            if said := says(node):
                places.setdefault(said, []).append(node.name)
        except NotMeasured:
            continue
    return places
