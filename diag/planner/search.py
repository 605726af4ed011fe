"""Which way to launch is best for the goal, and why was each other one discarded?

Best is what fits for sure, then what does not cross a slower link with every layer, then what the goal asks for:
 - stable: weights of at most 80 % of memory; then a KV cache as large as the weights (from there on reading it bounds
   decoding, not they) on the fewest GPUs;
 - where requests at once are named: all of them, or else as many as can be; what the estimates do not tell apart is
   alike;
 - latency: the most GPUs for one request; throughput: the most tokens of KV cache on the whole cluster;
 - context: the longest one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from diag.planner.candidates import candidates, why_impossible
from diag.planner.case import Case
from diag.planner.deployment import Deployment
from diag.planner.memory.guessing import why_undivided
from diag.planner.trial import Trial, Way, attempt, longest, refined
from diag.planner.unknown import NotKnown

MOST_WEIGHTS = 0.80
"""Share of a GPU's memory that weights take at most where a KV cache of the usual size is to stay: a rule of thumb."""
ALIKE = 0.1
"""Of the most requests that are held at once: further apart deployments are never alike, however wide estimates are."""
SMALLER_TOKENS = (2048, 1024)
"""Of a batch, tried where the engine's own leaves too little."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    deployment: Deployment
    reason: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """``trials``: best first; empty: no deployment divides the model. ``enough``: from so many requests at once on
    they are alike.
    """

    trials: tuple[Trial, ...]
    refused: tuple[Refused, ...]
    enough: int = 0


def search(case: Case) -> Found:
    """Raises NotKnown where of no deployment anything is known."""
    refused: list[Refused] = []
    trials: list[Trial] = []
    unknown: list[NotKnown] = []
    for deployment in candidates(case.architecture, case.rules, case.cluster, case.wanted.pinned):
        why = why_impossible(deployment, case.architecture, case.rules, case.cluster)
        why = why or why_undivided(case.draft, deployment, case.rules)
        if why is None:
            try:
                trials.append(best_of(case, deployment))
                continue
            except NotKnown as reason:
                unknown.append(reason)
                why = f"not known: {reason}"
        refused.append(Refused(deployment=deployment, reason=why))
    if unknown and not trials:
        raise unknown[0]
    enough = _alike_from(case, trials)
    trials.sort(key=lambda trial: _worth(case, trial, enough), reverse=True)
    if trials and case.wanted.as_long_as_fits:
        trials[0] = refined(case, trials[0])
    return Found(trials=tuple(trials), refused=tuple(refused), enough=enough)


def best_of(case: Case, deployment: Deployment, *, kv_cache_dtype: str | None = None) -> Trial:
    """With the longest of the wanted contexts, and then the largest batch, that gives the best verdict."""
    ways = list(_ways(case, deployment, kv_cache_dtype or case.wanted.pinned.kv_cache_dtype or "auto"))
    if case.wanted.as_long_as_fits:
        return _longest_of(case, ways)
    tried: list[Trial] = []
    for way in (ways[0], ways[-1], *ways[1:-1]):
        trial = attempt(case, way)
        if trial.verdict == "FITS" and way is not ways[-1]:
            return trial
        tried.append(trial)
        if way is ways[-1] and trial.verdict == "NO":
            return trial  # the least demanding of all
    return max(tried, key=_merit)


def _longest_of(case: Case, ways: Sequence[Way]) -> Trial:
    """The whole context with the first way that has it; else the longest of the most and the least demanding."""
    for way in ways:
        trial = attempt(case, way)
        if trial.verdict == "FITS":
            return trial
    return max((longest(case, way) for way in dict.fromkeys((ways[0], ways[-1]))), key=_merit)


def _merit(trial: Trial) -> tuple[int, int, int]:
    return trial.rank, trial.way.max_model_len, trial.sure_tokens


def _ways(case: Case, deployment: Deployment, kv_cache_dtype: str) -> Iterator[Way]:
    wanted = case.wanted
    for length in wanted.contexts(case.architecture.max_len) or (case.architecture.max_len,):
        own = case.own_batch(length)
        for tokens in _batched_tokens(wanted.pinned.max_num_batched_tokens, own.max_num_batched_tokens):
            most = tokens or own.max_num_batched_tokens
            for seqs in wanted.seqs(own.max_num_seqs):
                settled = wanted.pinned.max_num_batched_tokens is not None
                yield Way(
                    deployment=deployment,
                    max_model_len=length,
                    max_num_seqs=min(seqs, most) if settled else seqs,
                    max_num_batched_tokens=seqs if seqs > most and not settled else tokens,
                    kv_cache_dtype=kv_cache_dtype,
                    enforce_eager=bool(wanted.pinned.enforce_eager),
                )


def _batched_tokens(pinned: int | None, own: int) -> Sequence[int | None]:
    """None: the engine's own."""
    if pinned is not None:
        return (pinned,)
    return (None, *(tokens for tokens in SMALLER_TOKENS if tokens < own))


def _worth(case: Case, trial: Trial, enough: int) -> tuple[float, ...]:
    tier = case.domains.tier(trial.deployment)
    return (trial.rank, -tier, _counted(case, trial, enough), *_aim(case, trial))


def _held(trial: Trial) -> int:
    return int(trial.requests * trial.replicas)


def _counted(case: Case, trial: Trial, enough: int) -> int:
    """Of what it holds. All that the user named are always more than less of them."""
    named = case.wanted.concurrency or 0
    return named if _held(trial) >= named else min(enough, _held(trial))


def _alike_from(case: Case, trials: Sequence[Trial]) -> int:
    """From how many requests at once on deployments are alike: all that the user named; or what the estimates of the
    one that holds the most do not tell apart, at most ``ALIKE`` of it.
    """
    first = max(((trial.rank, -case.domains.tier(trial.deployment)) for trial in trials), default=None)
    if first is None or not case.wanted.concurrency:
        return 0
    best = [trial for trial in trials if (trial.rank, -case.domains.tier(trial.deployment)) == first]
    most = max(best, key=_held)
    sure = int(most.sure_tokens / most.way.max_model_len * most.replicas)
    return min(case.wanted.concurrency, max(sure, int(_held(most) * (1 - ALIKE))))


def _aim(case: Case, trial: Trial) -> tuple[float, ...]:
    gpus, stages, length = trial.deployment.gpus, -trial.deployment.pp, trial.way.max_model_len
    nodes, everywhere = _nodes(trial), trial.tokens * trial.replicas
    if case.wanted.goal == "context":
        return length, *nodes, trial.roomy, stages, everywhere
    if case.wanted.goal == "throughput":
        return length, *nodes, stages, trial.batch.max_num_seqs, everywhere, -gpus
    if case.wanted.goal == "latency":
        return length, *nodes, stages, trial.deployment.tp, not trial.deployment.ep, trial.roomy, everywhere
    fewest = case.rules.by_layers or (trial.roomy and not case.architecture.experts)
    plain = (stages, -trial.deployment.dp, not trial.deployment.ep)
    spread = (trial.roomy, -gpus if fewest else gpus, *plain, everywhere)
    return (length, comfortable(case, trial), *nodes, *spread)


def _nodes(trial: Trial) -> tuple[int, int, int]:
    """Inside a node if that will do; else as many replicas as can be, over as many nodes as leaves none idle."""
    spans = trial.deployment.nodes > 1
    return (0, trial.replicas, trial.deployment.nodes) if spans else (1, 0, 0)


def comfortable(case: Case, trial: Trial) -> bool:
    """Weights leave the KV cache the room that it usually needs."""
    return trial.weights_bytes <= MOST_WEIGHTS * case.device.total_bytes


def why_lost(case: Case, trial: Trial, best: Trial, enough: int = 0) -> str:
    """The first criterion on which it is worse than the best. ``enough``: of what was found."""
    if trial.verdict == "NO" or trial.outcome.unlikely:
        return trial.outcome.why
    cost, told = case.domains.cost(trial.deployment, case.architecture), best.deployment.told
    if trial.rank < best.rank:
        return f"fits only while overheads stay below their high estimates: {trial.outcome.why}"
    if case.domains.tier(trial.deployment) > case.domains.tier(best.deployment):
        return cost
    if _counted(case, trial, enough) < _counted(case, best, enough):
        return f"holds {trial.requests * trial.replicas:.0f} of {case.wanted.concurrency} requests at once"
    return _why_aimed_worse(case, trial, best, told)


def _why_aimed_worse(case: Case, trial: Trial, best: Trial, told: str) -> str:
    tokens, most = trial.tokens * trial.replicas, best.tokens * best.replicas
    gpus, fewest = trial.deployment.gpus, best.deployment.gpus
    several = "s" if trial.replicas > 1 else ""
    over = f"{trial.replicas} replica{several} over {trial.deployment.nodes} nodes"
    share = trial.weights_bytes / case.device.total_bytes
    stable = case.wanted.goal == "stable"
    reasons = (
        (trial.way.max_model_len < best.way.max_model_len,
         f"a request has {trial.way.max_model_len:,} tokens, with {told} {best.way.max_model_len:,}"),
        (stable and comfortable(case, trial) < comfortable(case, best), f"weights take {share:.0%} of a GPU"),
        (_nodes(trial) < _nodes(best), f"{over}, of {told} {best.replicas} over {best.deployment.nodes}"),
        (stable and trial.roomy < best.roomy, "its KV cache is smaller than its weights"),
        (stable and trial.deployment.ep > best.deployment.ep and gpus == fewest, f"{told} needs no expert parallelism"),
        (tokens < most, f"holds {tokens:,} tokens on all GPUs, {told} {most:,}"),
        (gpus > fewest, f"{gpus} GPUs a replica, {told} needs {fewest}"),
        (gpus < fewest, f"{gpus} GPUs a replica, fewer than the {fewest} of {told}"),
        (trial.deployment.dp > best.deployment.dp,
         f"{trial.deployment.dp} engines that share the experts, to be balanced: for throughput"),
        (trial.deployment.pp > best.deployment.pp, f"more pipeline stages than {told}"),
    )  # fmt: skip
    return next((why for worse, why in reasons if worse), f"no better than {told}")
