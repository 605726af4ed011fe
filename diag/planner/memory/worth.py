"""What is KV memory worth in an engine: how many blocks, tokens and requests are made of it?

The poorest stage of a pipeline decides. Layouts are kept between calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from diag.planner.memory import guessing
from diag.planner.memory.attempt import Start
from diag.planner.memory.paging import lmdeploy, ollama, sglang, turbomind, vllm
from diag.planner.memory.paging.lmdeploy import LmdeploySettings
from diag.planner.memory.paging.ollama import OllamaSettings
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.settings import Settings
from diag.planner.memory.paging.sglang import SglangSettings
from diag.planner.memory.paging.split import Split, vllm_stage
from diag.planner.memory.paging.turbomind import TurbomindPaging, TurbomindSettings
from diag.planner.memory.same import Same
from diag.planner.model.architecture import Architecture, StateCache
from diag.planner.rules import EngineRules
from diag.planner.unknown import NotKnown

POLICIES = {"auto": 0, "int4": 4, "int8": 8, "fp8": 16, "fp8_e4m3": 16, "fp8_e5m2": 17}
"""LMDeploy's quant_policy by the dtype of the KV cache."""
CACHE_TYPES = {"auto": "f16", "fp8": "q8_0", "int8": "q8_0", "int4": "q4_0"}
"""Ollama's."""


def worth(start: Start, kv_bytes: Sequence[int]) -> Paged:
    """``kv_bytes`` of a rank of each stage. Raises NotKnown."""
    if start.rules.kind == "vllm":
        return vllm.poorest(zip(_layouts(start), kv_bytes, strict=True))
    return min((_paged(start, stage, size) for stage, size in enumerate(kv_bytes)), key=lambda one: one.printed_tokens)


def state_pool_bytes(start: Start) -> int:
    """What LMDeploy's PyTorch engine sets aside for recurrent states before it takes its fraction."""
    if start.rules.kind != "lmdeploy":
        return 0
    return lmdeploy.state_pool_bytes(start.architecture, Split(tp=start.deployment.tp), _lmdeploy(start))


def _paged(start: Start, stage: int, kv_bytes: int) -> Paged:
    deployment, architecture = start.deployment, start.architecture
    if start.rules.by_layers:
        return ollama.paged(architecture, _ollama(start), kv_bytes)
    split = Split(tp=deployment.tp, pp=deployment.pp, stage=stage, dcp=deployment.dcp)
    if start.rules.kind == "lmdeploy":
        return lmdeploy.paged(architecture, split, _lmdeploy(start), kv_bytes)
    if start.rules.turbomind is not None:
        return turbomind.paged(architecture, split, _turbomind(start, start.rules.turbomind), kv_bytes)
    return sglang.paged(architecture, split, _sglang(start), kv_bytes)


def _layouts(start: Start) -> list[vllm.Layout]:
    deployment = start.deployment
    asked = _Asked(
        max_model_len=start.max_model_len,
        max_num_batched_tokens=start.batch.max_num_batched_tokens,
        kv_cache_dtype=start.kv_cache_dtype,
        block_size=start.block_size,
        compute_capability=start.device.kernels,
        drafted=start.draft.tokens if start.draft else 0,
    )
    tp, pp, dcp = deployment.tp, deployment.pp, deployment.dcp
    splits = (Split(tp=tp, pp=pp, stage=stage, dcp=dcp) for stage in range(pp))
    architecture = Same(guessing.joined(start.architecture, start.draft))
    return [_layout(architecture, Same(start.rules), split, asked) for split in splits]


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Of vLLM's settings, what a start may differ in."""

    max_model_len: int
    max_num_batched_tokens: int
    kv_cache_dtype: str
    block_size: int | None
    compute_capability: tuple[int, int]
    drafted: int = 0


@lru_cache(maxsize=4096)
def _layout(architecture: Same[Architecture], rules: Same[EngineRules], split: Split, asked: _Asked) -> vllm.Layout:
    """Groups are the same for all stages, and for all batches."""
    length = asked.max_model_len if _is_recurrent(architecture.value) else 0
    alike = msgspec.structs.replace(asked, max_num_batched_tokens=0, max_model_len=length)
    whole, stage = _whole(architecture, rules, split.tp, alike), vllm_stage(len(architecture.value.layers), split)
    return msgspec.structs.replace(
        whole,
        kept=tuple(one for one in whole.kept if one.layer in stage),
        stage=stage,
        split=split,
        settings=msgspec.structs.replace(
            whole.settings, max_num_batched_tokens=asked.max_num_batched_tokens, max_model_len=asked.max_model_len
        ),
    )


def _is_recurrent(architecture: Architecture) -> bool:
    """Without prefix caching a block of its states is as long as a request."""
    return any(isinstance(cache, StateCache) for layer in architecture.layers for cache in layer.caches)


@lru_cache(maxsize=256)
def _whole(architecture: Same[Architecture], rules: Same[EngineRules], tp: int, asked: _Asked) -> vllm.Layout:
    paging = rules.value.paging
    if paging is None:
        raise NotKnown(f"how {rules.value.engine} {rules.value.version} pages its KV cache")
    settings = Settings(
        rules=paging,
        max_model_len=asked.max_model_len,
        max_num_batched_tokens=asked.max_num_batched_tokens,
        kv_cache_dtype=asked.kv_cache_dtype,
        block_size=asked.block_size,
        compute_capability=asked.compute_capability,
        drafted=asked.drafted,
    )
    return vllm.layout(architecture.value, Split(tp=tp), settings)


def _sglang(start: Start) -> SglangSettings:
    return SglangSettings(
        context_length=start.max_model_len,
        kv_cache_dtype="fp8_e4m3" if start.kv_cache_dtype == "fp8" else start.kv_cache_dtype,
        page_size=start.block_size or 1,
        max_running_requests=start.batch.max_num_seqs,
        compute_capability=start.device.kernels,
        drafted=start.draft.tokens if start.draft else 0,
        draft_layers=len(start.draft.layers) if start.draft else 0,
    )


def _lmdeploy(start: Start) -> LmdeploySettings:
    return LmdeploySettings(
        session_len=start.max_model_len,
        max_batch_size=start.batch.max_num_seqs,
        quant_policy=_policy(start),
        cache_block_seq_len=start.block_size or start.rules.block_size,
    )


def _turbomind(start: Start, paging: TurbomindPaging) -> TurbomindSettings:
    return TurbomindSettings(
        paging=paging,
        session_len=start.max_model_len,
        max_batch_size=start.batch.max_num_seqs,
        quant_policy=_policy(start),
        cache_block_seq_len=start.block_size or start.rules.block_size,
    )


def _policy(start: Start) -> int:
    if start.kv_cache_dtype not in POLICIES and start.kv_cache_dtype != start.architecture.dtype:
        raise NotKnown(f"a KV cache of dtype {start.kv_cache_dtype!r} in LMDeploy: known are {', '.join(POLICIES)}")
    return POLICIES.get(start.kv_cache_dtype, 0)


def _ollama(start: Start) -> OllamaSettings:
    kept = CACHE_TYPES.get(start.kv_cache_dtype, start.kv_cache_dtype)
    return OllamaSettings(
        num_ctx=start.max_model_len,
        num_parallel=start.batch.max_num_seqs,
        k_type=kept,
        v_type=kept,
        num_batch=start.batch.max_num_batched_tokens,
    )
