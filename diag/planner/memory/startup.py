"""Will an engine start with one deployment, one batch and one context, and what KV cache will it have?

Three levels are computed, with every estimate low, mid and high. It FITS where it starts, holds one request of the
longest context and has room for what comes beside its fraction even with all of them high, is RISKY where that holds
with the probable ones only, and NO where it does not even with those; but RISKY, too, where it is only the KV cache
that is too small with those, and it is large enough with the low ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from diag.facts.plan import Estimate, MemorySplit, PlanVerdict
from diag.planner import divided_tokens
from diag.planner.deployment import Deployment
from diag.planner.memory import guessing, steps
from diag.planner.memory import terms as overhead
from diag.planner.memory.attempt import Device, Measured, Start
from diag.planner.memory.batch import Batch
from diag.planner.memory.buffers import with_buffers
from diag.planner.memory.obstacles import Limit, Obstacle, Stage, first_obstacle, kv_bytes, too_little
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.platforms import elsewhere
from diag.planner.memory.same import Same
from diag.planner.memory.shares import Share, Taken, first_batch, own_fraction, room, safe_fraction, terms_inside
from diag.planner.memory.terms import Term, Terms
from diag.planner.memory.weighed import (
    Level,
    copied_bytes,
    loaded_bytes,
    rotary_bytes,
    stage_weights_bytes,
    stays_in_ram,
    streams_bytes,
    weights_bytes,
)
from diag.planner.memory.worth import state_pool_bytes, worth
from diag.planner.model.architecture import Architecture
from diag.planner.rules import NOTHING, EngineRules, Spread

__all__ = ["Device", "Measured", "Outcome", "Start", "share", "start", "weights_bytes"]

LEVELS: tuple[Level, Level, Level] = ("low", "mid", "high")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """``why``: in one clause, what decided; ``limit``: the dominating term; ``lacks_kv``: more KV cache would do.

    ``memory``, ``terms`` and ``weights_bytes`` of the tightest stage; ``kv`` with all estimates high, mid and low: the
    least cache first, the poorest stage's.
    """

    verdict: PlanVerdict
    why: str
    limit: Limit
    lacks_kv: bool
    unlikely: bool = False
    """RISKY, and with the probable estimates it is not enough."""
    utilization: float
    memory: MemorySplit
    terms: Terms
    weights_bytes: int
    kv: tuple[Paged, Paged, Paged]
    sources: dict[str, str]


def start(start: Start) -> Outcome:
    """Raises NotKnown."""
    utilization = own_fraction(start) if start.utilization is None else start.utilization
    stages = [_stage(start, utilization, stage) for stage in _stages(start)]
    kv: dict[Level, Paged] = {level: worth(start, [kv_bytes(start, one, level) for one in stages]) for level in LEVELS}
    failures = {level: first_obstacle(start, stages, kv[level], level) for level in LEVELS}
    tightest = min(stages, key=lambda one: one.rooms["mid"].kv)
    verdict, decisive = _verdict(failures, start, stages, kv)
    return Outcome(
        verdict=verdict,
        why=decisive.why,
        limit=decisive.limit,
        lacks_kv=decisive.lacks_kv,
        unlikely=verdict == "RISKY" and failures["mid"] is not None,
        utilization=utilization,
        memory=_memory(start, tightest, kv),
        terms=tightest.terms,
        weights_bytes=tightest.weights,
        kv=(kv["high"], kv["mid"], kv["low"]),
        sources=_sources(tightest.terms),
    )


def share(start: Start) -> Share:
    """The engine's own fraction, lowered where the tightest stage would not start with it."""
    own = own_fraction(start)
    tight = [_taken(start, stage, "high") for stage in _stages(start)]
    found = [safe_fraction(start.rules, start.device, own=own, most=most) for most in tight]
    return min(found, key=lambda one: one.utilization)


def _stages(start: Start) -> range:
    """Ollama counts all of its GPUs together."""
    return range(1 if start.rules.by_layers else start.deployment.pp)


def _stage(start: Start, utilization: float, stage: int) -> Stage:
    taken: dict[Level, Taken] = {level: _taken(start, stage, level) for level in LEVELS}
    return Stage(
        weights=_stage_weights(start, stage) + guessing.weights_bytes(start, "mid"),
        terms=_terms_of(start, stage),
        taken=taken,
        rooms={
            level: room(start.rules, start.device, utilization, taken[level], gpus=start.deployment.gpus)
            for level in LEVELS
        },
    )


def _taken(start: Start, stage: int, level: Level) -> Taken:
    rules, terms = start.rules, _terms_of(start, stage)
    draft = guessing.weights_bytes(start, level)
    counted = draft if rules.drafting.weights_inside else 0
    sizes: dict[str, int] = {
        name: getattr(getattr(terms, name), level)
        for name in ("activation", "graphs", "non_torch", "fragmentation", "kept", "context")
    }
    inside = terms_inside(start) - {"context"}
    beside = {name: 0 if name in inside else sizes[name] for name in sizes}
    return Taken(
        weights=loaded_bytes(_stage_weights(start, stage) + counted, level) + _streams(start, stage),
        context=sizes["context"],
        inside=sum(sizes[name] for name in inside),
        activation=beside["activation"] + beside["kept"],
        graphs=beside["graphs"],
        other=beside["non_torch"] + beside["fragmentation"] + draft - counted,
        runtime=overhead.runtime_bytes(rules, start.batch, start.architecture.vocab) + state_pool_bytes(start),
    )


def _streams(start: Start, stage: int) -> int:
    return streams_bytes(start.architecture, start.rules, start.batch, last=stage == start.deployment.pp - 1)


def _stage_weights(start: Start, stage: int) -> int:
    deployment = Deployment(tp=1) if start.rules.by_layers else start.deployment
    held = stage_weights_bytes(start.architecture, start.rules, start.device, deployment, stage)
    taken_off = stays_in_ram(start.offloaded_bytes, start.architecture, start.rules, start.device, deployment, stage)
    held = max(0, held + start.extra_weight_bytes - taken_off)
    return held + rotary_bytes(start.architecture, start.rules)


def _terms_of(start: Start, stage: int) -> Terms:
    batch = first_batch(start)
    rules = guessing.runner_rules(start.rules, start.draft)
    estimated = _terms(Same(start.architecture), Same(rules), batch, start.deployment, start.device, stage)
    estimated = _watching(_copying(guessing.with_guessing(estimated, start), start, stage), start)
    if start.rules.buffers is not None:
        ranks = start.deployment.ranks(stage)
        estimated = with_buffers(estimated, start.rules.buffers, start.architecture, batch, ranks, start.max_model_len)
    return estimated if start.measured == _NOTHING else _measured(_in_context(estimated, start), start)


def _watching(terms: Terms, start: Start) -> Terms:
    """With a video of several images through the tower, whose embeddings wait beside the language model's steps."""
    images = steps.watched(start.rules, start.architecture, start.max_model_len)
    if images == 1 or not start.rules.video_images:
        return terms
    one = terms.vision
    told = f"a video of {images} such images; {one.source}"
    video = Term(low=one.low * images, mid=one.mid * images, high=one.high * images, source=told)
    return msgspec.structs.replace(terms, vision=video)


def _copying(terms: Terms, start: Start, stage: int) -> Terms:
    """With layers that come from the host's memory one after the other."""
    if not start.offloaded_bytes or not start.rules.copies_offloaded:
        return terms
    one, two = copied_bytes(start.architecture, start.rules, _stage_weights(start, stage), start.deployment.pp)
    forward = terms.forward
    more = Term(
        low=forward.low + one, mid=forward.mid + one, high=forward.high + two, source=f"{forward.source}; copied layers"
    )
    return msgspec.structs.replace(terms, forward=more)


_NOTHING = Measured()


@lru_cache(maxsize=4096)
def _terms(  # noqa: PLR0917 - the key of a cache
    architecture: Same[Architecture],
    rules: Same[EngineRules],
    batch: Batch,
    deployment: Deployment,
    device: Device,
    stage: int,
) -> Terms:
    found = overhead.terms(architecture.value, rules.value, batch, deployment.ranks(stage), hopper=device.hopper)
    several = deployment.tp * deployment.dp > 1
    found = elsewhere(found, device, rules.value, dict(rules.value.non_torch_joined) if several else {})
    return _dividing_tokens(found, architecture.value, rules.value, deployment) if deployment.dcp > 1 else found


def _dividing_tokens(terms: Terms, architecture: Architecture, rules: EngineRules, deployment: Deployment) -> Terms:
    """With one more communicator, of the ranks that divide a request's tokens; the first took what the rules say."""
    libraries, first = terms.non_torch, rules.communicator
    more = Term(
        low=libraries.low,
        mid=libraries.mid + int(first.low),
        high=libraries.high + int(first.mid),
        source=f"{libraries.source}; one more communicator to divide tokens: not measured, at most as the first",
    )
    queries = divided_tokens.repeated_queries_bytes(architecture, deployment, rules)
    sizes = {level: getattr(terms.kept, level) + queries for level in LEVELS}
    source = f"{terms.kept.source}; queries of {deployment.dcp} ranks" if queries else terms.kept.source
    return msgspec.structs.replace(terms, non_torch=more, kept=Term(**sizes, source=source))


def _measured(terms: Terms, start: Start) -> Terms:
    """With what was measured in place of its estimate; a measured activation holds all that torch held at its peak."""
    measured, nothing = start.measured, _exactly(0)
    kept = nothing if "fragmentation" in start.rules.inside else terms.fragmentation
    if measured.activation is not None:
        peak = _exactly(measured.activation)
        terms = msgspec.structs.replace(terms, sampler=peak, forward=peak, vision=peak, kept=nothing)
    if measured.non_torch is not None:
        terms = msgspec.structs.replace(terms, non_torch=_exactly(measured.non_torch), fragmentation=kept)
    if measured.graphs is not None:
        terms = msgspec.structs.replace(terms, graphs=_exactly(measured.graphs))
    return terms


def _in_context(terms: Terms, start: Start) -> Terms:
    """With the measured context; and the communicator where as many ranks share a node as it was measured with."""
    measured, deployment = start.measured, start.deployment
    if measured.context is None:
        return terms
    joined = start.rules.communicator if deployment.gpus > 1 else NOTHING
    told = "measured: the context of a process with the workspace of a matrix product"
    ranks = deployment.tp * deployment.dp
    size = dict(measured.communicators).get(ranks)
    if size is not None and joined.high:
        joined = Spread(low=size, mid=size, high=size, source=f"a communicator of {ranks} ranks: measured")
    source = f"{told}; communicator: {joined.source}" if joined.high else told
    context = Spread(low=joined.low, mid=joined.mid, high=joined.high, source=source)
    return msgspec.structs.replace(terms, context=Term.of(context, more=measured.context))


def _exactly(n_bytes: int) -> Term:
    return Term(low=n_bytes, mid=n_bytes, high=n_bytes, source="measured")


def _verdict(
    failures: dict[Level, Obstacle | None], start: Start, stages: Sequence[Stage], kv: dict[Level, Paged]
) -> tuple[PlanVerdict, Obstacle]:
    probable = failures["mid"]
    if probable is not None and probable.lacks_kv and failures["low"] is None:
        why = probable.why if kv["mid"].starts else too_little(start, stages, kv["mid"])
        return "RISKY", msgspec.structs.replace(probable, why=f"it probably does not start: {why}")
    if probable is not None:
        return "NO", probable
    if failures["high"] is not None:
        return "RISKY", failures["high"]
    least = kv["high"]
    held = f"{least.max_concurrency:.1f} requests of {start.max_model_len} tokens fit at the least"
    return "FITS", Obstacle(limit="kv", why=held)


def _memory(start: Start, stage: Stage, kv: dict[Level, Paged]) -> MemorySplit:
    """Of the tightest stage; the context counts among the libraries."""
    terms, taken = stage.terms, stage.taken
    spread = start.deployment.gpus if start.rules.by_layers else 1
    at = {level: max(0, kv_bytes(start, stage, level)) for level in LEVELS}
    return MemorySplit(
        total_bytes=start.device.total_bytes,
        held_bytes=start.device.total_bytes - start.device.free_bytes,
        weights_bytes=Estimate(**{level: taken[level].weights // spread for level in LEVELS}),
        kv_cache_bytes=_kv_taken(start, at, kv),
        activation_bytes=overhead.total((terms.activation, terms.kept)),
        cuda_graph_bytes=terms.graphs.estimate,
        non_torch_bytes=overhead.total((terms.context, terms.non_torch, terms.fragmentation)),
    )


def _kv_taken(start: Start, at: dict[Level, int], kv: dict[Level, Paged]) -> Estimate:
    """Ollama takes what its requests need and spreads it; the others take what is left."""
    if start.rules.by_layers:
        each = kv["mid"].request_bytes * start.batch.max_num_seqs // start.deployment.gpus
        return Estimate(low=each, mid=each, high=each)
    return Estimate(low=at["high"], mid=at["mid"], high=at["low"])


def _sources(terms: Terms) -> dict[str, str]:
    return {
        "activation_bytes": terms.activation.source,
        "cuda_graph_bytes": terms.graphs.source,
        "non_torch_bytes": f"{terms.context.source}; {terms.non_torch.source}",
    }
