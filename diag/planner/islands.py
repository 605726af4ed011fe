"""Which GPUs of each node do the vendor's own links join all to all, and which order do ranks need to stay on them?"""

from __future__ import annotations

import msgspec

from diag.facts import islands
from diag.facts.islands import Order, Pairs
from diag.planner.accelerators import Accelerators
from diag.planner.visible import ORDERED


class Islands(msgspec.Struct, frozen=True, kw_only=True):
    """``size``: GPUs of each; ``why``: who says so; ``orders``: node -> its GPUs, island after island."""

    size: int
    why: str
    orders: dict[str, Order]
    pairs: dict[str, Pairs]

    def needed(self, ranks: int) -> dict[str, Order]:
        """The orders of those nodes where groups of ``ranks`` leave their links in the usual one."""
        return {
            name: ordered
            for name, ordered in self.orders.items()
            if 1 < ranks <= self.size and not islands.is_joined(tuple(sorted(ordered)), self.pairs[name], ranks)
        }


def measured(found: Accelerators) -> Islands | None:
    """None: no node knows of a link. Where ranks cannot be told an order, their usual one decides."""
    joined = {node.name: islands.joined(node) for node in found.nodes}
    pairs = {name: known for name, known in joined.items() if known is not None}
    gpus = {node.name: tuple(sorted(gpu.index for gpu in node.gpus))[: found.per_node] for node in found.nodes}
    if not pairs:
        return None
    sizes = (size for size in range(found.per_node, 0, -1) if found.per_node % size == 0)
    for size in sizes:
        orders = {name: islands.order(gpus[name], known, size) for name, known in pairs.items()}
        if all(_is_possible(ordered, found.smallest.vendor) for ordered in orders.values()):
            break
    whole = {name: islands.largest(gpus[name], pairs[name])[0] for name in pairs}
    worst = min(whole, key=lambda name: whole[name])
    apart = f", {size} of them neighbours in number: its ranks cannot be told an order" if whole[worst] > size else ""
    why = f"on {worst} links join {whole[worst]}{apart}"
    return Islands(size=size, why=why, pairs=pairs, orders={name: each for name, each in orders.items() if each})


def _is_possible(ordered: Order | None, vendor: str) -> bool:
    return ordered is not None and (vendor in ORDERED or ordered == tuple(sorted(ordered)))
