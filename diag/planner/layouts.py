"""Over which GPUs can one replica be spread, and why not over others?"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from diag.planner.shapes import Shapes
from diag.planner.weights import padded_vocab


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """One replica: ``tp`` ranks a stage, ``pp`` stages, over ``nodes`` nodes; ``per_node`` replicas fit on a node."""

    tp: int
    pp: int
    nodes: int = 1
    per_node: int = 1

    @property
    def gpus(self) -> int:
        return self.tp * self.pp

    @property
    def told(self) -> str:
        return f"TP {self.tp}" + (f" × PP {self.pp}" if self.pp > 1 else "")


def inside_a_node(gpus_per_node: int) -> Iterator[Layout]:
    """Every tp × pp that divides the GPUs of a node, small replicas first, tensor before pipeline."""
    for gpus in _divisors(gpus_per_node):
        for pp in _divisors(gpus):
            yield Layout(tp=gpus // pp, pp=pp, per_node=gpus_per_node // gpus)


def over_nodes(gpus_per_node: int, nodes: int, count: int) -> Iterator[Layout]:
    """Pipelines over ``count`` of ``nodes`` nodes, tensor parallel inside each."""
    if count <= nodes:
        for pp in _divisors(gpus_per_node):
            yield Layout(tp=gpus_per_node // pp, pp=pp * count, nodes=count)


def why_not(shapes: Shapes, layout: Layout) -> str | None:
    """Why the model cannot be divided so; None: it can. Rules of vLLM's layers and of its config check."""
    if layout.pp > shapes.layers:
        return f"{shapes.layers} layers cannot fill {layout.pp} pipeline stages"
    for what, count in (
        ("attention heads", shapes.heads),
        ("columns of the expert MLP" if shapes.experts else "columns of the MLP", shapes.intermediate),
        ("rows of the padded vocabulary", padded_vocab(shapes)),
    ):
        if count % layout.tp:
            return f"{count} {what} do not divide by {layout.tp}"
    if shapes.kv_heads % layout.tp and layout.tp % shapes.kv_heads:
        return f"{shapes.kv_heads} kv heads neither divide by {layout.tp} nor replicate evenly"
    return None


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
