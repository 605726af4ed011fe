"""What is left to plan for without the nodes and GPUs that the user excluded?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from diag.errors import DiagError
from diag.facts.node import Node
from diag.facts.record import Missing, is_known, peek
from diag.facts.snapshot import Snapshot
from diag.facts.speed import Speed
from diag.inventory import fold
from diag.inventory.gpusets import Part, folded
from diag.planner.network.variables import Variable

OPTION = "--exclude"
BY_NUMBER = {
    "nvidia": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "{}"},
    "amd": {"HIP_VISIBLE_DEVICES": "{}"},
}
"""Vendor -> what lets a program see GPUs by the numbers that diag shows."""
ASSUMED = {"amd": "that HIP numbers GPUs as amd-smi does is taken as given (amd-smi list -e of ROCm 6.4 tells)"}
"""Vendors whose programs may count in another order."""


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


def hidden(nodes: Sequence[Node], every: frozenset[str] = frozenset()) -> frozenset[str]:
    """Nodes on which ranks have to be kept from GPUs: those that lack some between others; and of ``every``, those
    whose engine takes all that it sees, also those that lack the last ones.
    """
    gaps = {node.name for node in nodes if [gpu.index for gpu in node.gpus] != list(range(len(node.gpus)))}
    return frozenset(gaps | (every & {node.name for node in nodes}))


def visible(nodes: Sequence[Node], first: Sequence[str], vendor: str, kept: frozenset[str]) -> tuple[Variable, ...]:
    """Which GPUs programs may see, by node; ``kept``: those that ``hidden`` names.

    ``first``: the nodes of the command that is written out; its values stand for all, so all get theirs.
    """
    lists = {node.name: [gpu.index for gpu in node.gpus] for node in nodes}
    told = lists if first[0] in kept else kept
    return tuple(
        Variable(
            name=name,
            values=tuple((node, text.format(",".join(map(str, lists[node])))) for node in lists if node in told),
            why="without the GPUs that were excluded, numbered as diag shows them",
        )
        for name, text in BY_NUMBER.get(vendor, {}).items()
        if kept
    )


def doubt(vendor: str, kept: frozenset[str]) -> str:
    """Why ranks may see an excluded GPU all the same; empty: they do not."""
    if not kept:
        return ""
    unread = f"what keeps programs from GPUs of {vendor} was not read: the command may take those that were excluded"
    return ASSUMED.get(vendor, "") if vendor in BY_NUMBER else f"{unread} on {fold(kept)}"


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
