"""Which fraction of a GPU may an engine take, and what does it leave for the KV cache and for what comes beside?

Symbols: T total, f free before the start, c the process's own context, W weights, u the fraction.
 - vLLM, u of T: KV = ceil(T · u) − W − what it profiles; it starts where f − c is at least ceil(T · u), and what it
   does not profile comes from the rest.
 - SGLang, u of F = f − c: KV = F · u − W − libraries; activations and graphs come from F · (1 − u). Where it sizes its
   KV cache after the capture, graphs lie in F · u.
 - LMDeploy, u of what loading leaves: KV = u · (f − c − W − libraries − runtime − states).
 - Ollama, 80 % of what is free on all GPUs: W + KV of all requests.
Sources: vLLM's v1/worker/gpu_worker.py, SGLang's model_executor/model_runner.py (profile_max_num_token), LMDeploy's
pytorch/engine/executor/base.py, Ollama's server/sched.go.
"""

from __future__ import annotations

import math

import msgspec

from diag.planner.memory import steps
from diag.planner.memory.attempt import Device, Start
from diag.planner.memory.batch import Batch
from diag.planner.memory.reserve import Demand
from diag.planner.model.architecture import LatentCache
from diag.planner.rules import EngineRules, TermName
from diag.units import size

MANY_RANKS = 4
"""From here on SGLang captures larger decode batches."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """``lowered``: below what the engine takes by itself, so that its start has room."""

    utilization: float
    lowered: bool
    source: str


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of one GPU, all at one level of their estimates."""

    weights: int
    context: int
    inside: int
    """Of the terms that the engine takes out of its fraction, the context apart."""
    activation: int
    """Beside the fraction, like ``graphs``; 0: inside."""
    graphs: int
    other: int = 0
    """The rest of what lies beside it."""
    runtime: int = 0
    """What the engine keeps free by formula, the states of all requests included."""

    @property
    def beside(self) -> int:
        return self.activation + self.graphs + self.other


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """What a fraction comes to on one GPU; below zero: missing."""

    budget: int
    """What weights, KV cache and all that is inside share."""
    kv: int
    beside: int
    """For what comes beside the budget."""
    needed_free: int = 0
    """At the start, ``free`` is compared with it; 0: nobody looks."""
    free: int = 0

    @property
    def starts(self) -> bool:
        return self.free >= self.needed_free


def room(rules: EngineRules, device: Device, utilization: float, taken: Taken, *, gpus: int = 1) -> Room:
    """``gpus``: over which Ollama spreads a model."""
    if rules.fraction_of == "total":
        return _of_total(rules, device, utilization, taken)
    if rules.fraction_of == "free before load":
        return _of_free_before(device, utilization, taken)
    if rules.fraction_of == "free after load":
        left = device.free_bytes - taken.context - taken.weights - taken.inside - taken.runtime
        kv = int(utilization * left)
        return Room(budget=device.free_bytes - taken.context, kv=kv, beside=left - kv + taken.runtime)
    free = device.free_bytes * gpus
    budget = int(free * utilization)
    return Room(budget=budget, kv=budget - taken.weights - taken.inside, beside=free - budget - taken.context * gpus)


def _of_total(rules: EngineRules, device: Device, utilization: float, taken: Taken) -> Room:
    """Versions that count the context in it see there what others hold, too."""
    budget = math.ceil(device.seen_bytes * utilization)
    within = "context" in rules.inside
    kv = budget - taken.weights - taken.inside - (taken.context + device.held_bytes if within else 0)
    free = device.free_bytes - taken.context
    beside = device.seen_bytes - budget if within else free - budget
    return Room(budget=budget, kv=kv, beside=beside, needed_free=budget if rules.checks_free else 0, free=free)


def _of_free_before(device: Device, utilization: float, taken: Taken) -> Room:
    free = device.free_bytes - taken.context
    budget = int(free * utilization)
    return Room(budget=budget, kv=budget - taken.weights - taken.inside, beside=free - budget)


def own_fraction(start: Start) -> float:
    """What the engine takes by itself."""
    rules = start.rules
    if rules.reserve is None:
        return rules.utilization
    return rules.reserve.fraction(demand(start))


def demand(start: Start) -> Demand:
    """What SGLang's own fraction depends on."""
    deployment, device = start.deployment, start.device
    row = start.rules.batch(device.name, device.total_bytes, max_model_len=start.max_model_len)
    tower = steps.tower(start.architecture)
    return Demand(
        total_bytes=device.total_bytes,
        ranks=deployment.gpus,
        batched_tokens=start.batch.max_num_batched_tokens,
        graph_batch=row.graph_batch[deployment.tp * deployment.dp >= MANY_RANKS],
        attention_dp=deployment.dp if deployment.dp > 1 else 0,
        mla=_is_latent(start),
        divides_tokens=deployment.dcp > 1,
        tower=tower.blocks * tower.hidden**2 if tower else 0,
    )


def first_batch(start: Start) -> Batch:
    """The batch whose largest steps, and whose graphs, count at the start."""
    most = demand(start).graph_batch if start.rules.samples_graphs else 0
    if not most:
        return _with_guesses(start)
    graphs = start.batch.captures if start.batch.captures is not None else decode_sizes(most)
    return msgspec.structs.replace(start.batch, max_num_seqs=min(start.batch.max_num_seqs, most), captures=graphs)


def _with_guesses(start: Start) -> Batch:
    """Graphs are captured for all that a sequence has in a step: its token and those guessed ahead of it."""
    return start.batch if start.draft is None else msgspec.structs.replace(start.batch, decoded=1 + start.draft.tokens)


def decode_sizes(most: int) -> int:
    """How many decode batches SGLang captures: 1, 2, 4, and every 8th."""
    return sum(size <= most for size in (1, 2, 4)) + most // 8


def sized_after_capture(start: Start) -> bool:
    return start.rules.reserve is not None and start.rules.reserve.after_capture(demand(start))


def terms_inside(start: Start) -> frozenset[TermName]:
    """Those that share the fraction with weights and KV cache."""
    more: tuple[TermName, ...] = ("graphs",) if sized_after_capture(start) else ()
    return frozenset((*start.rules.inside, *more))


def _is_latent(start: Start) -> bool:
    return any(isinstance(cache, LatentCache) for layer in start.architecture.layers[:4] for cache in layer.caches)


def safe_fraction(rules: EngineRules, device: Device, *, own: float, most: Taken) -> Share:
    """The engine's ``own`` fraction, lowered to whole hundredths until its start has room for ``most``."""
    limit = _largest(rules, device, most)
    if own <= limit:
        return Share(utilization=own, lowered=False, source=f"what {rules.engine} {rules.version} takes by itself")
    lowered = max(0.01, math.floor(limit * 100) / 100)
    why = f"{size(device.free_bytes)} are free, {size(most.context)} go to the context, {size(most.beside)} beside it"
    return Share(utilization=lowered, lowered=True, source=f"lowered from {own:.3g}: {why}")


def _largest(rules: EngineRules, device: Device, most: Taken) -> float:
    """The largest fraction that leaves room."""
    free = device.free_bytes - most.context
    if rules.fraction_of == "total":
        within = "context" in rules.inside
        return ((device.seen_bytes if within else free) - most.beside) / device.seen_bytes
    if rules.fraction_of == "free before load":
        return 1 - most.beside / max(1, free)
    if rules.fraction_of == "free after load":
        left = free - most.weights - most.inside - most.runtime
        return 1 - max(0, most.beside - most.runtime) / max(1, left)
    return rules.utilization
