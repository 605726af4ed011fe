"""What did the nodes' own measurements say of memory and links, that stands for an estimate?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from diag.facts.node import Node
from diag.facts.record import is_known
from diag.facts.speed import Speed
from diag.planner.memory.attempt import Measured

WEDGED = "killed"
"""At its deadline; what failed with an error of its own, out of memory say, tells nothing of a pair."""
P2P = "p2p"


def measured(nodes: Sequence[Node]) -> Measured:
    """The most that any GPU's context, with the workspace of a matrix product, and any node's communicators took."""
    speeds = list(_speeds(nodes))
    contexts = [one.with_gemm_bytes for speed in speeds if is_known(speed, "contexts") for one in speed.contexts]
    together = [speed.collectives for speed in speeds if is_known(speed, "collectives")]
    joined = [(one.world_size, one.communicator_bytes) for one in together if is_known(one, "communicator_bytes")]
    joined += [row for one in together for row in one.communicators]
    most: dict[int, int] = {}
    for ranks, taken in joined:
        most[ranks] = max(taken, most.get(ranks, 0))
    return Measured(context=max(contexts, default=None), communicators=tuple(sorted(most.items())))


def not_allocatable(node: Node, gpu: int) -> int:
    """Bytes that the driver calls free and that no program got, of one GPU; 0: all could be had, or nobody tried."""
    for speed in _speeds([node]):
        fills = speed.fills if is_known(speed, "fills") else ()
        found = [one.told_bytes - one.allocatable_bytes for one in fills if one.gpu == gpu and one.verified]
        if found:
            return max(0, *found)
    return 0


def wrong_pairs(nodes: Sequence[Node]) -> str:
    """Which GPUs did not deliver to each other what was sent, on which node; empty: all that were tried did."""
    for node in nodes:
        for speed in _speeds([node]):
            pairs = speed.p2p if is_known(speed, "p2p") else ()
            wrong = [f"gpu:{row.source} to gpu:{row.target}" for row in pairs if row.direct and not row.verified]
            wrong += [
                " and ".join(f"gpu:{gpu}" for gpu in lost.gpus)
                for lost in speed.lost
                if lost.topic == P2P and lost.how == WEDGED
            ]
            if wrong:
                return f"{wrong[0]} on {node.name} did not deliver what was sent"
    return ""


def _speeds(nodes: Iterable[Node]) -> Iterable[Speed]:
    return (node.speed for node in nodes if is_known(node, "speed"))
