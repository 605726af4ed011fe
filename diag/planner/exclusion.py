"""What is left to plan for without the nodes and GPUs that the user excluded?"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from diag.errors import DiagError
from diag.facts.node import Node
from diag.facts.record import Missing, is_known, peek
from diag.facts.snapshot import Snapshot
from diag.facts.speed import Speed
from diag.inventory import fold
from diag.inventory.gpusets import Part, folded

OPTION = "--exclude"


def without(snapshot: Snapshot, excluded: tuple[Part, ...]) -> Snapshot:
    """The Snapshot of the others. Raises DiagError for what it does not hold, and where nothing is left."""
    if not excluded:
        return snapshot
    require_nodes(excluded, [node.name for node in snapshot.nodes])
    fewer = {node.name: _of(node, excluded) for node in snapshot.nodes if Part(node.name) not in excluded}
    kept = tuple(node for node in fewer.values() if not _emptied(node, excluded))
    if not kept:
        raise DiagError(OPTION, f"{folded(excluded)}: nothing is left to plan for", do="exclude less")
    return msgspec.structs.replace(snapshot, nodes=kept)


def require_nodes(excluded: Iterable[Part], names: list[str]) -> None:
    """A name with a typing error must not leave its node in the plan."""
    unknown = next((part.node for part in excluded if part.node not in names), None)
    if unknown is not None:
        raise DiagError(OPTION, f"{unknown!r} is no node of it", do=f"expected one of {fold(names)}")


def lacking(excluded: Iterable[Part]) -> frozenset[str]:
    """Nodes of which some GPUs were excluded."""
    return frozenset(part.node for part in excluded if part.gpu >= 0)


def _emptied(node: Node, excluded: Iterable[Part]) -> bool:
    """It has no GPU left: it is no node without any."""
    return is_known(node, "gpus") and not node.gpus and any(part.node == node.name for part in excluded)


def _of(node: Node, excluded: Iterable[Part]) -> Node:
    """Without its excluded GPUs, and what was measured between them and others."""
    gone = {part.gpu for part in excluded if part.node == node.name}
    if not gone:
        return node
    known = {gpu.index for gpu in node.gpus} if is_known(node, "gpus") else set()
    if not gone <= known:
        has = f"{node.name} has {folded(Part(node.name, gpu) for gpu in known)}" if known else "its GPUs are not known"
        raise DiagError(OPTION, f"{node.name}:{min(gone - known)}: no such GPU", do=has)
    gpus = tuple(gpu for gpu in node.gpus if gpu.index not in gone)
    speed = _speed(node.speed, gone) if is_known(node, "speed") else peek(node, "speed")
    return msgspec.structs.replace(node, gpus=gpus, speed=speed)


def _speed(speed: Speed, gone: set[int]) -> Speed:
    pairs = peek(speed, "p2p")
    if not isinstance(pairs, Missing):
        pairs = tuple(row for row in pairs if gone.isdisjoint((row.source, row.target)))
    lost = tuple(row for row in speed.lost if gone.isdisjoint(row.gpus))
    return msgspec.structs.replace(speed, p2p=pairs, lost=lost)
