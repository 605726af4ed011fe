"""Which layout and batch size is best, and why was each other one discarded?

Inside a node first; a pipeline over nodes only where nothing fits inside one; tensor parallel never leaves a node. Best
is what fits for sure, then the longest context, then the fewest GPUs whose KV cache is at least as large as the weights
(from there on reading the cache bounds decoding, not the weights), then fewer stages, then the most tokens.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from diag.facts.plan import Discarded, Parameters
from diag.planner.layouts import Layout, inside_a_node, over_nodes, why_not
from diag.planner.overheads import Batch
from diag.planner.rules import BatchRow
from diag.planner.trial import Question, Trial, attempt
from diag.units import size

RANK = {"FITS": 2, "RISKY": 1, "NO": 0}
MOST_NODES = 16
"""Deeper pipelines over nodes are not considered."""
SMALLER_BATCHES = ((256, 2048), (64, 2048), (16, 1024))
"""Tried in turn where the engine's own batch leaves too little: (max_num_seqs, max_num_batched_tokens)."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The best trial (None: no layout divides the model) and every other candidate with its reason, the best first."""

    best: Trial | None
    discarded: tuple[Discarded, ...]


def search(question: Question, *, per_node: int, nodes: int, own: BatchRow) -> Found:
    refused: list[Discarded] = []
    trials = _trials(question, inside_a_node(per_node), own, refused)
    count = 2
    while not any(trial.verdict == "FITS" for trial in trials) and count <= min(nodes, MOST_NODES):
        trials += _trials(question, over_nodes(per_node, nodes, count), own, refused)
        count += 1
    if not trials:
        return Found(best=None, discarded=tuple(refused))
    best, *others = sorted(trials, key=lambda trial: _worth(question, trial), reverse=True)
    lost = [_discard(trial.layout, _why_lost(question, trial, best)) for trial in others]
    return Found(best=best, discarded=(*lost, *refused))


def _trials(question: Question, layouts: Iterable[Layout], own: BatchRow, refused: list[Discarded]) -> list[Trial]:
    trials = []
    for layout in layouts:
        reason = why_not(question.shapes, layout)
        if reason is None:
            trials.append(_best_batch(question, layout, own))
        else:
            refused.append(_discard(layout, reason))
    return trials


def _best_batch(question: Question, layout: Layout, own: BatchRow) -> Trial:
    """The engine's own batch where it suffices; a smaller one where that gives a better verdict or a longer context."""
    trials = [attempt(question, layout, batch) for batch in batches(own)]
    return max(trials, key=lambda trial: (RANK[trial.verdict], trial.max_model_len, _doubtful_room(trial)))


def _doubtful_room(trial: Trial) -> int:
    """What fits for sure needs no more; what is risky is less so with more room."""
    return 0 if trial.verdict == "FITS" else trial.memory.kv_cache_bytes.mid or 0


def batches(own: BatchRow) -> list[Batch]:
    smaller = [(seqs, tokens) for seqs, tokens in SMALLER_BATCHES if seqs < own.max_num_seqs]
    pairs = [(own.max_num_seqs, own.max_num_batched_tokens), *smaller]
    return [
        Batch(max_num_seqs=seqs, max_num_batched_tokens=min(tokens, own.max_num_batched_tokens))
        for seqs, tokens in pairs
    ]


def _worth(question: Question, trial: Trial) -> tuple[float, ...]:
    fewest = trial.roomy and not question.shapes.experts  # replicas of an expert model inside a node divide its experts
    gpus = -trial.layout.gpus if fewest else trial.layout.gpus
    tokens = (trial.memory.kv_cache_bytes.mid or 0) / trial.per_token
    return RANK[trial.verdict], trial.max_model_len, trial.roomy, gpus, -trial.layout.pp, tokens


def _why_lost(question: Question, trial: Trial, best: Trial) -> str:
    """The first criterion on which it is worse."""
    weights, cache = size(trial.memory.weights_bytes.high or 0), size(trial.memory.kv_cache_bytes.mid or 0)
    told = best.layout.told
    if trial.verdict == "NO":
        return f"weights of {weights} a GPU leave {cache} of {size(question.budget_bytes)} for the KV cache"
    reasons = (
        (RANK[trial.verdict] < RANK[best.verdict], "fits only if overheads stay below their high estimates"),
        (trial.max_model_len < best.max_model_len, f"a request has {trial.max_model_len:,} tokens, in {told} more"),
        (trial.roomy < best.roomy, f"KV cache of {cache} is smaller than the weights, {weights} a GPU"),
        (
            trial.layout.gpus > best.layout.gpus,
            f"more GPUs a replica than needed: {trial.layout.gpus}, {best.layout.gpus} in {told}",
        ),
        (
            trial.layout.gpus < best.layout.gpus,
            f"{trial.layout.gpus} GPUs a replica hold less than the {best.layout.gpus} of {told}",
        ),
    )
    rest = "more pipeline stages" if trial.layout.pp > best.layout.pp else "fewer tokens of KV cache"
    return next((why for worse, why in reasons if worse), f"as many GPUs as {told}, {rest}")


def _discard(layout: Layout, reason: str) -> Discarded:
    return Discarded(parameters=parameters(layout), reason=reason)


def parameters(layout: Layout) -> Parameters:
    return Parameters(tensor_parallel_size=layout.tp, pipeline_parallel_size=layout.pp)
