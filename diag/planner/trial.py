"""What does one way to launch come to: a deployment, so many requests at once, so long a context?"""

from __future__ import annotations

import msgspec

from diag.facts.plan import KvCache, Parameters, PlanVerdict
from diag.planner.case import Case
from diag.planner.deployment import Deployment
from diag.planner.memory.attempt import Start
from diag.planner.memory.batch import Batch
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.shares import Share
from diag.planner.memory.startup import Outcome, share, start

RANK = {"FITS": 3, "RISKY": 2, "NO": 0}
UNLIKELY = 1
"""Of what is RISKY and probably not enough."""
LENGTH_STEP, STEPS = 256, 64
"""Contexts that are as long as fits are multiples of the first, found to one of so many parts of the model's own."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """``max_num_batched_tokens`` None: what the engine takes by itself."""

    deployment: Deployment
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int | None = None
    kv_cache_dtype: str = "auto"
    enforce_eager: bool = False


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    way: Way
    batch: Batch
    share: Share
    outcome: Outcome
    replicas: int
    """On the whole cluster."""

    @property
    def verdict(self) -> PlanVerdict:
        return self.outcome.verdict

    @property
    def rank(self) -> int:
        return UNLIKELY if self.outcome.unlikely else RANK[self.verdict]

    @property
    def deployment(self) -> Deployment:
        return self.way.deployment

    @property
    def sure_tokens(self) -> int:
        """Of KV cache in one replica even where all overheads are at their high estimates."""
        return self.outcome.kv[0].capacity_tokens * self.way.deployment.dp

    @property
    def tokens(self) -> int:
        """Probable, in one replica."""
        return self.outcome.kv[1].capacity_tokens * self.way.deployment.dp

    @property
    def requests(self) -> float:
        """Of the longest context at once, in one replica."""
        return self.tokens / self.way.max_model_len

    @property
    def weights_bytes(self) -> int:
        """Of one GPU."""
        return self.outcome.memory.weights_bytes.mid or 0

    @property
    def kv(self) -> KvCache:
        """From the probable estimates."""
        return kv_cache(self.outcome.kv[1], fits=self.verdict != "NO")

    @property
    def roomy(self) -> bool:
        """The KV cache is at least as large as the weights: from there on reading it bounds decoding, not they."""
        return (self.outcome.memory.kv_cache_bytes.mid or 0) >= self.weights_bytes


def attempt(case: Case, way: Way) -> Trial:
    own = case.own_batch(way.max_model_len)
    tokens = way.max_num_batched_tokens or own.max_num_batched_tokens
    batch = Batch(
        max_num_seqs=min(way.max_num_seqs, tokens), max_num_batched_tokens=tokens, enforce_eager=way.enforce_eager
    )
    asked = Start(
        architecture=case.architecture,
        rules=case.rules,
        deployment=way.deployment,
        batch=batch,
        max_model_len=way.max_model_len,
        kv_cache_dtype=way.kv_cache_dtype,
        block_size=case.wanted.pinned.block_size,
        device=case.device,
        measured=case.measured,
        extra_weight_bytes=case.files.extra_bytes,
        offloaded_bytes=case.offloaded_bytes,
        loading_bytes=case.loading_bytes(way.deployment),
        draft=case.draft,
    )
    taken = _share(case, asked)
    outcome = _holding(start(msgspec.structs.replace(asked, utilization=taken.utilization)), asked)
    return Trial(way=way, batch=batch, share=taken, outcome=outcome, replicas=case.replicas(way.deployment))


def _holding(outcome: Outcome, asked: Start) -> Outcome:
    """Some engines start although no request of the longest context fits: then it could never be answered."""
    sure, probable, possible = (paged.capacity_tokens >= asked.max_model_len for paged in outcome.kv)
    if outcome.verdict == "NO" or outcome.unlikely or sure or (probable and outcome.verdict == "RISKY"):
        return outcome
    return msgspec.structs.replace(
        outcome,
        verdict="RISKY" if possible else "NO",
        limit="kv",
        why=_unanswered(outcome, asked, "may" if probable else "will probably" if possible else None),
        lacks_kv=True,
        unlikely=possible and not probable,
    )


def _unanswered(outcome: Outcome, asked: Start, doubt: str | None) -> str:
    least, most = outcome.kv[0].capacity_tokens, outcome.kv[2].capacity_tokens
    held = f"it holds {least:,}–{most:,}" if least < most else f"it holds {least:,}"
    request, engine, surely = f"a request of {asked.max_model_len:,} tokens", asked.rules.engine, outcome.kv[0].starts
    if doubt is None:
        return f"{engine} {'starts' if surely else 'may start'}, but {request} can never be answered: {held}"
    return f"{request} {doubt} never be answered, {'though' if surely else 'even if'} {engine} starts: {held}"


def _share(case: Case, asked: Start) -> Share:
    pinned = case.wanted.pinned.gpu_memory_utilization
    return share(asked) if pinned is None else Share(utilization=pinned, lowered=False, source="--set")


def longest(case: Case, way: Way) -> Trial:
    """With the longest context that fits for sure; where none does, that probably does; else the shortest.

    ``way.max_model_len`` is the most. Found to one of ``STEPS`` parts of it.
    """
    step = LENGTH_STEP * max(1, way.max_model_len // STEPS // LENGTH_STEP)
    for verdict in ("FITS", "RISKY"):
        whole = attempt(case, way)
        if whole.rank >= RANK[verdict]:
            return whole
        found = longest_between(case, way, (0, way.max_model_len), step, RANK[verdict])
        if found is not None:
            return found
    return attempt(case, msgspec.structs.replace(way, max_model_len=min(LENGTH_STEP, way.max_model_len)))


def refined(case: Case, trial: Trial) -> Trial:
    """To ``LENGTH_STEP``."""
    length, most = trial.way.max_model_len, case.architecture.max_len
    step = LENGTH_STEP * max(1, most // STEPS // LENGTH_STEP)
    if trial.rank < RANK["RISKY"] or length >= most:
        return trial
    return longest_between(case, trial.way, (length, min(most, length + step)), LENGTH_STEP, trial.rank) or trial


def longest_between(case: Case, way: Way, span: tuple[int, int], step: int, rank: int) -> Trial | None:
    """Above the first of ``span`` and up to the second. What starts with a context starts with a shorter one."""
    best, least, most = None, span[0] // step, span[1] // step
    while least < most:
        middle = -(-(least + most) // 2)
        trial = attempt(case, msgspec.structs.replace(way, max_model_len=middle * step))
        if trial.rank >= rank:
            best, least = trial, middle
        else:
            most = middle - 1
    return best


def kv_cache(paged: Paged, *, fits: bool) -> KvCache:
    """Of one replica as the engine's log counts it; nothing but a token's bytes where it does not fit."""
    per_token = round(paged.bytes_per_token)
    if not fits:
        return KvCache(bytes_per_token=per_token, block_size=paged.block_size)
    return KvCache(
        bytes_per_token=per_token,
        capacity_tokens=paged.capacity_tokens,
        printed_tokens=paged.printed_tokens,
        blocks=paged.blocks,
        block_size=paged.block_size,
        max_concurrency=round(paged.max_concurrency, 2),
    )


def parameters(case: Case, trial: Trial) -> Parameters:
    deployment, way = trial.deployment, trial.way
    return Parameters(
        tensor_parallel_size=deployment.tp,
        pipeline_parallel_size=deployment.pp,
        data_parallel_size=case.launched(deployment),
        expert_parallel=deployment.ep,
        gpu_memory_utilization=trial.outcome.utilization,
        max_model_len=way.max_model_len if trial.verdict != "NO" else case.wanted.fixed_context,
        max_num_seqs=trial.batch.max_num_seqs,
        max_num_batched_tokens=trial.batch.max_num_batched_tokens,
        kv_cache_dtype=way.kv_cache_dtype,
        dtype=case.architecture.dtype,
        quantization=case.wanted.pinned.quantization,
        block_size=trial.outcome.kv[1].block_size // deployment.dcp,
        enforce_eager=way.enforce_eager,
        backend=case.rules.backend or case.wanted.pinned.backend,
        cpu_offload_gib=case.wanted.pinned.cpu_offload_gib,
        decode_context_parallel_size=deployment.dcp if deployment.dcp > 1 else None,
        speculative_method=case.wanted.pinned.speculative_method,
        num_speculative_tokens=case.wanted.pinned.num_speculative_tokens,
        speculative_model=case.wanted.pinned.speculative_model,
    )
