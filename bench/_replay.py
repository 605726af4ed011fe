"""What is predicted of a logged start-up, and what does its log say against the inputs that were assumed of it?

A row is replayed twice: with what its log measured (activation, non-torch, KV memory) in place of the estimates, and as
one would before the start, without.
"""

from __future__ import annotations

import msgspec
from _cases import Case, Measured, Predict, Prediction

from diag.planner.unknown import NotKnown
from diag.units import GIB


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """Both predictions of a case, or in one line why there is none. ``informed``: with what the log measured."""

    case: Case
    informed: Prediction | None = None
    before: Prediction | None = None
    not_known: str | None = None
    refuted: str | None = None
    """What the log says against an input assumed for it: there is no ``before`` then."""


VERSIONS = ("0.9", "0.12", "0.18", "0.21", "0.26", "0.29")
"""One of each way in which V1 engines of vLLM paged their caches, beside the newest."""
SAME = 0.01
OTHER_WEIGHTS = 0.05
"""Logged weights further from those of the shape are not of it."""


def replay(case: Case, predict: Predict) -> Replayed:
    """Where no version is logged, what was measured speaks only where all versions make the same of it."""
    informed = before = None
    try:
        if case.logged and (case.inputs.version or _versions_agree(case, predict)):
            informed = predict(msgspec.structs.replace(case.inputs, measured=case.logged))
        elif case.row.out_of_memory and case.row.tokens:
            informed = _of_blocks(case, case.row.tokens, predict)
        if case.inputs.total_bytes is not None and case.weights_known:
            before = predict(case.inputs)
    except NotKnown as why:
        return Replayed(case=case, not_known=str(why))
    refuted = _refuted(case, before) or _of_no_length(case, before, predict) if before and case.row.started else None
    return Replayed(case=case, informed=informed, before=None if refuted else before, refuted=refuted)


def _of_blocks(case: Case, tokens: int, predict: Predict) -> Prediction | None:
    """Out of memory after the engine told how many tokens its cache has: that much memory was left for them."""
    if case.inputs.total_bytes is None:
        return None
    a_token = predict(case.inputs).outcome.kv[1].bytes_per_token
    return predict(msgspec.structs.replace(case.inputs, measured=Measured(kv=tokens * a_token)))


def _refuted(case: Case, before: Prediction) -> str | None:
    """A start-up that held more than its share, or not half of it, or other weights than were assumed, was another.

    By weights of the shape and what is logged of weights and KV memory: no estimate takes part.
    """
    assumed = {line.partition(":")[0] for line in case.assumed} & {"utilisation", "format"}
    weights, logged = before.weights_bytes or 0, (case.row.weights_gib_per_gpu or 0) * GIB
    if "format" in assumed and logged and abs(weights / logged - 1) > OTHER_WEIGHTS:
        return f"{logged / GIB:.1f} GiB of logged weights, {weights / GIB:.1f} of the shape: another model or format"
    of_total = before.outcome.utilization if case.row.engine == "vllm" else 1.0
    held, room = weights + (case.measured.kv or 0), of_total * (case.inputs.total_bytes or 0)
    told = f"{held / GIB:.1f} GiB of weights and logged KV cache in {room / GIB:.1f} GiB refute the assumed"
    if assumed and held > room:
        return f"{told} {' or '.join(sorted(assumed))}"
    alone = case.row.engine == "vllm" and "utilisation" in assumed and case.measured.kv is not None
    return f"{told} utilisation" if alone and held < room / 2 else None


def _of_no_length(case: Case, before: Prediction, predict: Predict) -> str | None:
    """Only printed tokens are logged, this version makes them of max_model_len, and that is not logged."""
    if case.measured.kv is not None or case.row.tokens is None or not before.length:
        return None
    if "max_model_len: the model's" not in case.assumed:
        return None
    half = predict(msgspec.structs.replace(case.inputs, max_model_len=before.length // 2))
    one, other = before.printed_tokens.mid or 0, half.printed_tokens.mid or 0
    return None if abs(one - other) <= SAME * one else "printed tokens follow max_model_len, which is not logged"


def _versions_agree(case: Case, predict: Predict) -> bool:
    given = msgspec.structs.replace(case.inputs, measured=case.measured)
    if case.inputs.engine != "vllm" or case.inputs.v0 or case.measured.kv is None:
        return True
    try:
        tokens = [predict(msgspec.structs.replace(given, version=version)).printed_tokens.mid for version in VERSIONS]
        now = predict(given).printed_tokens.mid
    except NotKnown:
        return False
    return all(abs((one or 0) - (now or 0)) <= SAME * (now or 0) for one in tokens)
