"""Which GPUs may the ranks of a launch see, and in which order do they take them?

MetaX: ``MACA_VISIBLE_DEVICES`` takes the numbers that mx-smi prints and is the order of use, too (MetaX's page on its
environment variables); its vLLM plugin gives ``CUDA_VISIBLE_DEVICES`` the same value, in every worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diag.facts.islands import Order
from diag.facts.node import Node
from diag.planner.network.variables import Variable

BY_NUMBER: Mapping[str, Mapping[str, str]] = {
    "nvidia": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "{}"},
    "metax": {"MACA_VISIBLE_DEVICES": "{}", "CUDA_VISIBLE_DEVICES": "{}"},
}
"""Vendor -> what lets a program see GPUs by the numbers that diag shows. Of others the order is not known for sure."""
ORDERED = frozenset(BY_NUMBER)
EXCLUDED = "without the GPUs that were excluded, numbered as on the bus"
ISLANDS = "in this order ranks that follow each other are joined by links, in the usual one they are not"


def visible(
    nodes: Sequence[Node], first: Sequence[str], vendor: str, orders: Mapping[str, Order]
) -> tuple[Variable, ...]:
    """Where GPUs lack between others, ranks would be counted wrongly: those that stay, by node.

    ``first``: the nodes of the command that is written out; its values stand for all, so all get theirs. ``orders``:
    those of nodes on which the usual order leaves links.
    """
    lists = {node.name: _list(node, orders.get(node.name, ())) for node in nodes}
    odd = {name for name, gpus in lists.items() if gpus != list(range(len(gpus)))}
    told = lists if first[0] in odd else odd
    return tuple(
        Variable(
            name=name,
            values=tuple((node, text.format(",".join(map(str, lists[node])))) for node in lists if node in told),
            why=ISLANDS if orders else EXCLUDED,
        )
        for name, text in BY_NUMBER.get(vendor, {}).items()
        if odd
    )


def _list(node: Node, ordered: Order) -> list[int]:
    return [*ordered, *(gpu.index for gpu in node.gpus if gpu.index not in ordered)]
