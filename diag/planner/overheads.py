"""What takes GPU memory beside weights and KV cache? Each a term of its own: at least, probably, at most.

Activation is the larger of two steps that never run together (profiled one after the other by the engine):
 - sampling: c · max_num_seqs · V bytes, c of the engine's version;
 - a forward pass: max_num_batched_tokens · (hidden states and the MLP's inner ones), for experts the workspace of every
   (token, expert) pair: max(I, H) + max(2I, H) elements (fused MoE kernels keep both ends).
"""

from __future__ import annotations

import msgspec

from diag.facts.plan import Estimate
from diag.planner.rules import EngineRules, Spread
from diag.planner.shapes import Shapes

HIDDEN_COPIES = Spread(
    low=2,
    mid=4,
    high=8,
    source="hidden states alive at once, counted by hand: residual, input, output, their casts",
)
INNER_COPIES = Spread(low=2, mid=3, high=6, source="gate, up and their product; twice that where nothing is fused")


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """How much the engine works on at once."""

    max_num_seqs: int
    max_num_batched_tokens: int


def activation(shapes: Shapes, rules: EngineRules, batch: Batch, *, tp: int) -> Estimate:
    def step(sampler: float, hidden: float, inner: float) -> int:
        sampling = sampler * batch.max_num_seqs * shapes.vocab
        elements = hidden * shapes.hidden + _inner_elements(shapes, tp, inner)
        return int(max(sampling, batch.max_num_batched_tokens * elements * shapes.dtype_bytes))

    return Estimate(
        low=step(rules.sampler.low, HIDDEN_COPIES.low, INNER_COPIES.low),
        mid=step(rules.sampler.mid, HIDDEN_COPIES.mid, INNER_COPIES.mid),
        high=step(rules.sampler.high, HIDDEN_COPIES.high, INNER_COPIES.high),
    )


def _inner_elements(shapes: Shapes, tp: int, copies: float) -> float:
    inner = shapes.intermediate // tp
    if not shapes.experts:
        return copies * inner
    pair = max(inner, shapes.hidden) + max(2 * inner, shapes.hidden)
    return shapes.experts_per_token * pair * copies / INNER_COPIES.mid


def non_torch(rules: EngineRules, gpus: int) -> Estimate:
    return estimate(rules.non_torch_several if gpus > 1 else rules.non_torch_alone)


def estimate(spread: Spread) -> Estimate:
    return Estimate(low=int(spread.low), mid=int(spread.mid), high=int(spread.high))
