"""By how little must one figure change for a plan to fit: the engine's share, the context, a step's tokens, requests?

Each is searched for its smallest change, and the smallest of all stands first. A parameter stands as ``{name=value}``:
the engine's file knows its flag.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from diag.planner.case import Case
from diag.planner.trial import Trial, attempt, longest_between
from diag.units import size

FEWER_SEQS = (1024, 512, 256, 128, 64, 32, 16, 8, 1)
FEWER_TOKENS = (8192, 4096, 2048, 1024, 512)
SHORTEST = 1024
"""Tokens of a context that is worth to be told."""
HUNDREDTHS = 100


class Nudge(msgspec.Struct, frozen=True, kw_only=True):
    """``size``: the change as a share of what it was."""

    trial: Trial
    words: str
    size: float


def nudges(case: Case, best: Trial, rank: int) -> Iterator[Nudge]:
    """Those that reach ``rank``, each with its smallest change. Raises NotKnown."""
    for find in (own_share, _shorter_context, _fewer_tokens, _fewer_requests):
        found = find(case, best, rank)
        if found is not None:
            yield found


def own_share(case: Case, best: Trial, rank: int) -> Nudge | None:
    """A larger one where the KV cache is too small, else a smaller one; in hundredths."""
    now = best.outcome.utilization
    if case.rules.by_layers or (best.share.lowered and not best.outcome.lacks_kv):
        return None

    def tried(hundredths: int) -> Trial:
        return attempt(_with_share(case, hundredths / HUNDREDTHS), best.way)

    if best.outcome.lacks_kv:
        steps = range(int(now * HUNDREDTHS + 1e-6) + 1, HUNDREDTHS)
        found = _first(steps, tried, lambda trial: trial.rank >= rank or not trial.outcome.lacks_kv)
    else:
        steps = range(-int(-now * HUNDREDTHS + 1e-6) - 1, 0, -1)
        found = _first(steps, tried, lambda trial: trial.rank >= rank or trial.outcome.lacks_kv)
    if found is None or found.rank < rank:
        return None
    share = found.outcome.utilization
    words = f"{{gpu_memory_utilization={share:.2f}}} instead of {round(now, 4):g}"
    return Nudge(trial=found, words=words, size=abs(share - now) / now)


def _with_share(case: Case, share: float) -> Case:
    pinned = msgspec.structs.replace(case.wanted.pinned, gpu_memory_utilization=share)
    return msgspec.structs.replace(case, wanted=msgspec.structs.replace(case.wanted, pinned=pinned))


def _first(steps: range, tried: Callable[[int], Trial], reached: Callable[[Trial], bool]) -> Trial | None:
    """The first of ``steps`` from which on all ``reached``."""
    if not steps or not reached(found := tried(steps[-1])):
        return None
    least, most = 0, len(steps) - 1
    while least < most:
        middle = (least + most) // 2
        trial = tried(steps[middle])
        if reached(trial):
            found, most = trial, middle
        else:
            least = middle + 1
    return found


def _shorter_context(case: Case, best: Trial, rank: int) -> Nudge | None:
    """The longest that fits, in whole blocks."""
    length, block = best.way.max_model_len, best.outcome.kv[1].block_size
    least = -(-min(SHORTEST, length) // block) * block
    if least >= length:
        return None
    shortest = attempt(case, msgspec.structs.replace(best.way, max_model_len=least))
    if shortest.rank < rank:
        return None
    trial = longest_between(case, best.way, (least, length - 1), block, rank) or shortest
    shorter = trial.way.max_model_len
    words = f"{{max_model_len={shorter}}}: a shorter context"
    return Nudge(trial=trial, words=words, size=1 - shorter / length)


def _fewer_tokens(case: Case, best: Trial, rank: int) -> Nudge | None:
    """In a step, where the user settled more than that: what the engine takes by itself first."""
    now, own = best.batch.max_num_batched_tokens, case.own_batch(best.way.max_model_len).max_num_batched_tokens
    if case.wanted.pinned.max_num_batched_tokens is None:
        return None
    for tokens in dict.fromkeys((own, *FEWER_TOKENS)):
        if best.batch.max_num_seqs <= tokens < now:
            trial = attempt(case, msgspec.structs.replace(best.way, max_num_batched_tokens=tokens))
            if trial.rank >= rank:
                told = f", as {case.rules.engine} takes by itself," if tokens == own else ""
                words = f"{{max_num_batched_tokens={tokens}}}{told}{_freed_by(best, trial)}"
                return Nudge(trial=trial, words=words.removesuffix(","), size=1 - tokens / now)
    return None


def _fewer_requests(case: Case, best: Trial, rank: int) -> Nudge | None:
    now = best.batch.max_num_seqs
    if now == 1 or attempt(case, msgspec.structs.replace(best.way, max_num_seqs=1)).rank < rank:
        return None
    for seqs in FEWER_SEQS:
        if seqs < now:
            trial = attempt(case, msgspec.structs.replace(best.way, max_num_seqs=seqs))
            if trial.rank >= rank:
                words = f"{{max_num_seqs={seqs}}}{_freed_by(best, trial)}"
                return Nudge(trial=trial, words=words, size=1 - seqs / now)
    return None


def _freed_by(best: Trial, trial: Trial) -> str:
    before, after = best.outcome.memory.activation_bytes.high or 0, trial.outcome.memory.activation_bytes.high or 0
    return f" frees {size(before - after)}" if before > after else ""
