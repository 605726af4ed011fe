"""What would other formats give in the chosen deployment, and the engine's own batch, and shorter steps?

A KV cache in 8 bit and weights in 8 bit are decisions of their own: they change what the model answers. So they are
shown, not taken, unless the user pins them.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from diag.planner.case import Case
from diag.planner.model.requantized import requantized
from diag.planner.running import kv_support, running
from diag.planner.search import best_of
from diag.planner.trial import RANK, Trial, attempt
from diag.planner.unknown import NotKnown
from diag.units import size

SMALLER_STEP = 2048
"""Tokens; the engines' own are up to eight times as many."""
WORTH_IT = 1.25
"""So many times the KV cache for shorter steps."""
IN_8_BIT = ("fp8", "int8")
"""The first that the engine runs on the device."""
ORDER = {"native": 0, "weight_only": 1}


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """``case``: what it would follow from; ``note``: a line for the plan, empty: none."""

    case: Case
    trial: Trial
    reason: str
    note: str = ""


def alternatives(case: Case, best: Trial) -> tuple[Alternative, ...]:
    found = (_in_8_bit(case, best), _kv_in_8_bit(case, best), _for_throughput(case, best), _smaller_steps(case, best))
    return tuple(one for one in found if one is not None)


def _in_8_bit(case: Case, best: Trial) -> Alternative | None:
    for name, changed in _quantized(case):
        trial = best_of(changed, best.deployment)
        if trial.rank < RANK["RISKY"]:
            return None
        told = f"with weights in 8 bit ({name}) {best.deployment.told} holds {trial.tokens:,} tokens of KV cache"
        told += f", in {case.architecture.dtype} {best.tokens:,}"
        if best.verdict == "NO":
            told = f"with weights in 8 bit ({name}) {best.deployment.told} is {trial.verdict}: {trial.tokens:,} tokens"
        return Alternative(case=changed, trial=trial, reason=f"another checkpoint: {told}", note=told)
    return None


def _quantized(case: Case) -> Iterator[tuple[str, Case]]:
    """Unknown formats and those that the engine does not run here are left out."""
    if case.architecture.quantization is not None:
        return
    for name in IN_8_BIT:
        try:
            run = running(requantized(case.architecture, name), case.rules, case.device, "auto")
        except NotKnown:
            continue
        if run.refused is None and run.unknown is None:
            pinned = msgspec.structs.replace(case.wanted.pinned, quantization=name)
            wanted = msgspec.structs.replace(case.wanted, pinned=pinned)
            yield name, msgspec.structs.replace(case, architecture=run.architecture, wanted=wanted)


def _kv_in_8_bit(case: Case, best: Trial) -> Alternative | None:
    if best.way.kv_cache_dtype != "auto" or case.wanted.pinned.kv_cache_dtype is not None:
        return None
    support = kv_support("fp8", case.rules, case.device)
    if support is None or support.kind != "native":
        return None
    try:
        trial = attempt(case, msgspec.structs.replace(best.way, kv_cache_dtype="fp8"))
    except NotKnown:
        return None
    if trial.rank < RANK["RISKY"] or trial.tokens <= best.tokens:
        return None
    reason = f"a decision of its own, it changes answers a little: {trial.tokens:,} tokens instead of {best.tokens:,}"
    return Alternative(case=case, trial=trial, reason=reason)


def _for_throughput(case: Case, best: Trial) -> Alternative | None:
    """What the engine's own number of requests would cost."""
    own = case.own_batch(best.way.max_model_len)
    fixed = case.wanted.pinned.max_num_seqs or case.wanted.concurrency
    if fixed or best.rank < RANK["RISKY"] or own.max_num_seqs <= best.batch.max_num_seqs:
        return None
    way = msgspec.structs.replace(best.way, max_num_seqs=own.max_num_seqs, max_num_batched_tokens=None)
    trial = attempt(case, way)
    more = (trial.outcome.memory.activation_bytes.high or 0) - (best.outcome.memory.activation_bytes.high or 0)
    told = f"{own.max_num_seqs} requests at once, as {case.rules.engine} takes by itself,"
    if more <= 0 and trial.tokens >= best.tokens and trial.verdict == "FITS":
        note = f"for throughput: {told} cost no memory"
        return Alternative(case=case, trial=trial, reason=note, note=note)
    cost = f"cost {size(more)} more activation at most" if more > 0 else "cost no more activation"
    left = f" and leave {trial.tokens:,} tokens of KV cache instead of {best.tokens:,}"
    left = "" if trial.tokens == best.tokens else left
    at = "at high estimates " if trial.rank == RANK["RISKY"] else ""
    doubt = "" if trial.verdict == "FITS" else f", and it is {trial.verdict} then: {at}{trial.outcome.why}"
    note = f"for throughput: {told} {cost}{left}{doubt}"
    return Alternative(case=case, trial=trial, reason=note, note=note)


def _smaller_steps(case: Case, best: Trial) -> Alternative | None:
    """Where what steps keep in flight takes much of the KV cache: windows and summaries hold it beside the request."""
    settled = case.wanted.pinned.max_num_batched_tokens is not None or case.wanted.goal not in {"stable", "context"}
    if settled or best.verdict == "NO" or best.batch.max_num_batched_tokens <= SMALLER_STEP:
        return None
    if best.batch.max_num_seqs > SMALLER_STEP:
        return None
    trial = attempt(case, msgspec.structs.replace(best.way, max_num_batched_tokens=SMALLER_STEP))
    if trial.rank < max(best.rank, RANK["RISKY"]) or trial.tokens < WORTH_IT * best.tokens:
        return None
    holds = f"{trial.tokens:,} tokens of KV cache instead of {best.tokens:,}"
    note = f"{{max_num_batched_tokens={SMALLER_STEP}}} leaves {holds}; long prompts then take more steps"
    return Alternative(case=case, trial=trial, reason=f"{holds}; long prompts then take more steps", note=note)
