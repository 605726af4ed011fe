"""Which GPUs may the ranks of a launch see, and in which order do they take them?

MetaX: ``MACA_VISIBLE_DEVICES`` takes the numbers that mx-smi prints and is the order of use, too (MetaX's page on its
environment variables); its vLLM plugin gives ``CUDA_VISIBLE_DEVICES`` the same value, in every worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diag.facts.islands import Order
from diag.facts.node import Node
from diag.inventory import fold
from diag.planner.network.variables import Variable

BY_NUMBER: Mapping[str, Mapping[str, str]] = {
    "nvidia": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "{}"},
    "amd": {"HIP_VISIBLE_DEVICES": "{}"},
    "metax": {"MACA_VISIBLE_DEVICES": "{}", "CUDA_VISIBLE_DEVICES": "{}"},
}
"""Vendor -> what lets a program see GPUs by the numbers that diag shows."""
ASSUMED = {"amd": "that HIP numbers GPUs as amd-smi does is taken as given (amd-smi list -e of ROCm 6.4 tells)"}
"""Vendors whose programs may count in another order."""
ORDERED = frozenset(BY_NUMBER) - frozenset(ASSUMED)
EXCLUDED = "without the GPUs that were excluded, numbered as diag shows them"
ISLANDS = "in this order ranks that follow each other are joined by links, in the usual one they are not"


def hidden(nodes: Sequence[Node], every: frozenset[str] = frozenset()) -> frozenset[str]:
    """Nodes on which ranks have to be kept from GPUs: those that lack some between others; and of ``every``, those
    whose engine takes all that it sees, also those that lack the last ones.
    """
    gaps = {node.name for node in nodes if [gpu.index for gpu in node.gpus] != list(range(len(node.gpus)))}
    return frozenset(gaps | (every & {node.name for node in nodes}))


def variables(
    nodes: Sequence[Node], first: Sequence[str], vendor: str, kept: frozenset[str], orders: Mapping[str, Order]
) -> tuple[Variable, ...]:
    """Which GPUs programs may see, by node; ``kept``: those that ``hidden`` names.

    ``first``: the nodes of the command that is written out; its values stand for all, so all get theirs. ``orders``:
    of nodes on which the usual order leaves links.
    """
    lists = {node.name: _list(node, orders.get(node.name, ())) for node in nodes}
    odd = kept | orders.keys()
    told = lists if first[0] in odd else odd
    return tuple(
        Variable(
            name=name,
            values=tuple((node, text.format(",".join(map(str, lists[node])))) for node in lists if node in told),
            why="; ".join([ISLANDS] * bool(orders) + [EXCLUDED] * bool(kept)),
        )
        for name, text in BY_NUMBER.get(vendor, {}).items()
        if odd
    )


def doubt(vendor: str, kept: frozenset[str]) -> str:
    """Why ranks may see an excluded GPU all the same; empty: they do not."""
    if not kept:
        return ""
    unread = f"what keeps programs from GPUs of {vendor} was not read: the command may take those that were excluded"
    return ASSUMED.get(vendor, "") if vendor in BY_NUMBER else f"{unread} on {fold(kept)}"


def _list(node: Node, ordered: Order) -> list[int]:
    return [*ordered, *(gpu.index for gpu in node.gpus if gpu.index not in ordered)]
