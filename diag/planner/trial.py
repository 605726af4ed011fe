"""Does one layout with one batch size fit into the budget, and what then is left for the KV cache?

The KV cache gets what the other terms leave: least where they are highest. FITS: a request of ``max_model_len`` has
room even then; RISKY: only where they are probable or low; NO: nowhere.
"""

from __future__ import annotations

import msgspec

from diag.facts.plan import Estimate, MemorySplit, PlanVerdict
from diag.planner import kv, overheads
from diag.planner.layouts import Layout
from diag.planner.overheads import Batch
from diag.planner.rules import EngineRules
from diag.planner.shapes import Shapes
from diag.planner.weights import stage_layers, stage_weight_bytes

LOADED_MORE = 0.02
"""What loading takes beyond the tensors, at most: rotary tables, rounding (0 to 1.7 % in 14 logs of vLLM)."""
SHORTEST_USEFUL = 2048
"""A context shorter than this (or than the model's own) counts as not fitting."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What came out for the tightest pipeline stage. ``max_model_len`` 0: not even the shortest useful one fits."""

    layout: Layout
    batch: Batch
    memory: MemorySplit
    per_token: int
    max_model_len: int
    verdict: PlanVerdict

    @property
    def roomy(self) -> bool:
        """The KV cache is at least as large as the weights: more GPUs would not pay for long."""
        return (self.memory.kv_cache_bytes.mid or 0) >= (self.memory.weights_bytes.mid or 0)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What all trials have in common."""

    shapes: Shapes
    rules: EngineRules
    budget_bytes: int
    extra_weight_bytes: int = 0


def attempt(question: Question, layout: Layout, batch: Batch) -> Trial:
    """The trial of the pipeline stage with the fewest tokens of KV cache."""
    stages = [_stage(question, layout, batch, stage) for stage in _kinds_of_stage(layout.pp)]
    return min(stages, key=lambda trial: (trial.memory.kv_cache_bytes.low or 0) / trial.per_token)


def _kinds_of_stage(pp: int) -> list[int]:
    """First, last, and the one before the last, which has the most layers."""
    return sorted({0, pp - 1, max(0, pp - 2)})


def _stage(question: Question, layout: Layout, batch: Batch, stage: int) -> Trial:
    shapes, rules = question.shapes, question.rules
    memory = _split(question, layout, batch, stage)
    layers = stage_layers(shapes.layers, layout.pp)[stage]
    per_token = kv.bytes_per_token(shapes, tp=layout.tp, layers=layers)
    length, verdict = _length(memory.kv_cache_bytes, per_token, rules.block_size, shapes.max_len)
    return Trial(layout=layout, batch=batch, memory=memory, per_token=per_token, max_model_len=length, verdict=verdict)


def _split(question: Question, layout: Layout, batch: Batch, stage: int) -> MemorySplit:
    weights = stage_weight_bytes(question.shapes, tp=layout.tp, pp=layout.pp, stage=stage)
    terms = (
        loaded(weights, question.extra_weight_bytes),
        overheads.activation(question.shapes, question.rules, batch, tp=layout.tp),
        overheads.estimate(question.rules.graphs),
        overheads.non_torch(question.rules, layout.gpus),
    )
    inside = terms if question.rules.graphs_inside_budget else (terms[0], terms[1], terms[3])
    return MemorySplit(
        weights_bytes=terms[0],
        kv_cache_bytes=remainder(question.budget_bytes, inside),
        activation_bytes=terms[1],
        cuda_graph_bytes=terms[2],
        non_torch_bytes=terms[3],
    )


def loaded(weights_bytes: int, extra_bytes: int) -> Estimate:
    """``extra_bytes``: what the files hold beyond the shapes."""
    high = int(weights_bytes * (1 + LOADED_MORE)) + extra_bytes
    return Estimate(low=weights_bytes, mid=weights_bytes, high=high)


def remainder(budget_bytes: int, terms: tuple[Estimate, ...]) -> Estimate:
    """What is left of the budget: lowest where the terms are highest; never below nothing."""
    return Estimate(
        low=max(0, budget_bytes - sum(term.high or 0 for term in terms)),
        mid=max(0, budget_bytes - sum(term.mid or 0 for term in terms)),
        high=max(0, budget_bytes - sum(term.low or 0 for term in terms)),
    )


def _length(kv_bytes: Estimate, per_token: int, block_size: int, max_len: int) -> tuple[int, PlanVerdict]:
    """The longest context that fits for sure; else the longest that probably fits; else the shortest that is useful."""
    useful = min(SHORTEST_USEFUL, max_len)
    least, probably, most = (
        kv.capacity_tokens(room or 0, per_token, block_size) for room in (kv_bytes.low, kv_bytes.mid, kv_bytes.high)
    )
    if least >= useful:
        return min(max_len, least), "FITS"
    if probably >= useful:
        return min(max_len, probably), "RISKY"
    return (useful, "RISKY") if most >= useful else (0, "NO")
