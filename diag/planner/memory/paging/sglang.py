"""How many tokens and requests does SGLang make of a rank's KV cache memory?

Recurrent states get mamba_full_memory_ratio parts of 1 + that, tokens the rest. Models with a window have two pools, of
which the second holds swa_full_tokens_ratio × the tokens of the first. Source of 0.5.23:
model_executor/pool_configurator.py and mem_cache/kv_cache_configurator.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec

from diag.planner.memory.paging.entries import PACKED_FP8, indexer_bytes
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.split import Split, kv_heads, sglang_stage
from diag.planner.memory.same import Same
from diag.planner.model.architecture import Architecture, AttentionCache, Cache, LatentCache, StateCache
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.state import state_bytes
from diag.planner.unknown import NotKnown

TWO_POOLS = ("GptOss", "Llama4", "MiMoV2", "Step3p5", "Step3p7", "Gemma4", "Laguna", "Mellum")
"""How the classes start whose windows have a pool of their own; other models keep every token of every layer."""
_BYTES: Mapping[str, float] = {**DTYPE_BYTES, "bf16": 2, "fp8_e4m3": 1, "fp8_e5m2": 1, "mxfp8": 33 / 32}
_CONV_BYTES = 2
"""SGLANG_MAMBA_CONV_DTYPE is bfloat16."""
_MOST_REQUESTS, _FEWEST_REQUESTS, _REQUESTS_A_CONTEXT = 4096, 2048, 512
_MOST_DRAFTING = 48
"""Requests at once that it takes by itself where it guesses tokens."""
_BLACKWELL = 10


class SglangSettings(msgspec.Struct, frozen=True, kw_only=True):
    context_length: int
    kv_cache_dtype: str = "auto"
    page_size: int = 1
    swa_full_tokens_ratio: float = 0.8
    mamba_full_memory_ratio: float = 0.9
    states_per_request: int = 5
    """With radix cache and overlapped scheduling; 3 without overlap, 1 without radix cache."""
    max_running_requests: int | None = None
    drafted: int = 0
    """Tokens guessed ahead of each step, one at a time (top-k 1)."""
    draft_layers: int = 0
    """Of what guesses: it takes them to keep what the model's layers keep on average."""
    hybrid_swa: bool = True
    compute_capability: tuple[int, int] = (9, 0)


class _Cells(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that a token takes in all layers of each pool, and a request's states in all of theirs."""

    full: int
    window: int
    state: int
    reach: int
    """Of the longest window."""


def paged(architecture: Architecture, split: Split, settings: SglangSettings, kv_bytes: int) -> Paged:
    """``kv_bytes``: what it leaves for states and tokens, on one rank of the stage. Raises NotKnown."""
    cells = _cells(architecture, split, settings)
    slots, rest = _states(cells, settings, kv_bytes)
    ratio = settings.swa_full_tokens_ratio
    cell = cells.full + ratio * cells.window if cells.full else cells.window
    if not cell:
        raise NotKnown("a model without attention in SGLang")
    if settings.draft_layers:
        cell = _with_draft(cell, cells, architecture, settings)
    page = settings.page_size
    tokens = int(max(0, rest) // cell) // page * page
    window_tokens = (int(tokens * ratio) // page * page if cells.full else tokens) if cells.window else 0
    held = tokens * split.dcp
    requests = max_requests(held, slots, settings)
    length = settings.context_length
    request_blocks = -(-length // (page * split.dcp))
    return Paged(
        blocks=tokens // page,
        block_size=page * split.dcp,
        bytes_per_block=int(cell * page),
        bytes_per_token=cell / split.dcp,
        request_blocks=request_blocks,
        request_bytes=int(request_blocks * page * cell) + cells.state * settings.states_per_request,
        capacity_tokens=held if split.dcp > 1 else _capacity(tokens, window_tokens, cells, settings),
        printed_tokens=tokens,
        max_concurrency=held / length,
        max_requests=requests,
        starts=_starts(tokens, window_tokens, cells, settings) and requests > 0,
    )


def max_requests(tokens: int, slots: int | None, settings: SglangSettings) -> int:
    """512 for each context that the tokens hold, 2048 to 4096, but each with at least two tokens and its states."""
    asked = settings.max_running_requests
    estimate = int(tokens / settings.context_length * _REQUESTS_A_CONTEXT)
    most = min(max(min(estimate, _MOST_REQUESTS), _FEWEST_REQUESTS) if asked is None else asked, tokens // 2)
    return most if slots is None else min(most, slots // settings.states_per_request)


def _states(cells: _Cells, settings: SglangSettings, kv_bytes: int) -> tuple[int | None, int]:
    """Slots for states, one of them padding, and the bytes that are left for tokens.

    With D tokens in a step, guessed ones included, running requests have D more each, and one that is padding.
    """
    if not cells.state:
        return None, kv_bytes
    budget = kv_bytes * settings.mamba_full_memory_ratio / (1 + settings.mamba_full_memory_ratio)
    steps = 1 + settings.drafted if settings.drafted else 0
    each = cells.state * (1 + steps / settings.states_per_request)
    slots = max(0, int((budget - cells.state * (1 + steps)) // each))
    running = min(settings.max_running_requests or _MOST_DRAFTING, slots // settings.states_per_request)
    checked = (running + 1) * steps if steps else 0
    return slots, kv_bytes - (slots + 1 + checked) * cells.state


def _with_draft(cell: float, cells: _Cells, architecture: Architecture, settings: SglangSettings) -> float:
    """Of models whose layers keep tokens alike."""
    if cells.window:
        raise NotKnown("a draft beside layers with a window in SGLang")
    keeping = sum(any(not isinstance(cache, StateCache) for cache in layer.caches) for layer in architecture.layers)
    return int(cell * (1 + settings.draft_layers / keeping))


def _starts(tokens: int, window_tokens: int, cells: _Cells, settings: SglangSettings) -> bool:
    """The second pool must hold more than a window and a page."""
    return tokens > 0 and (not cells.window or window_tokens > cells.reach + settings.page_size)


def _capacity(tokens: int, window_tokens: int, cells: _Cells, settings: SglangSettings) -> int:
    if not cells.window or not cells.full:
        return tokens
    held = min(settings.context_length, cells.reach + settings.page_size)
    return min(tokens, window_tokens * settings.context_length // held)


def _cells(architecture: Architecture, split: Split, settings: SglangSettings) -> _Cells:
    if architecture.encoder:
        raise NotKnown("an encoder in SGLang")
    two_pools = settings.hybrid_swa and architecture.name.startswith(TWO_POOLS)
    full = window = reach = 0
    for number in sglang_stage(len(architecture.layers), split):
        for cache in architecture.layers[number].caches:
            size = _bytes(cache, architecture, split, settings)
            seen = cache.window or cache.chunk if two_pools and isinstance(cache, AttentionCache) else 0
            if seen:
                window, reach = window + size, max(reach, seen)
            else:
                full += size
    return _Cells(full=full, window=window, state=_state_bytes(Same(architecture), split.tp, split.pp), reach=reach)


@lru_cache(maxsize=256)
def _state_bytes(architecture: Same[Architecture], tp: int, pp: int) -> int:
    """Of a request in the stage that has most of them: all stages have as many slots."""
    layers = architecture.value.layers
    return max(
        sum(
            state_bytes(cache, tp=tp, dtype_bytes=_CONV_BYTES)
            for number in sglang_stage(len(layers), Split(tp=tp, pp=pp, stage=stage))
            for cache in layers[number].caches
            if isinstance(cache, StateCache)
        )
        for stage in range(pp)
    )


def _bytes(cache: Cache, architecture: Architecture, split: Split, settings: SglangSettings) -> int:
    """Of a token."""
    if isinstance(cache, StateCache):
        return 0
    if isinstance(cache, AttentionCache):
        element = _element_bytes(_dtype(architecture, settings))
        return int(kv_heads(cache.kv_heads, split.tp // split.dcp) * (cache.head_dim + cache.v_head_dim) * element)
    if isinstance(cache, LatentCache):
        return _latent(cache, architecture, settings, split.dcp)
    raise NotKnown("how SGLang divides memory among compressed layers")


def _latent(cache: LatentCache, architecture: Architecture, settings: SglangSettings, dcp: int) -> int:
    """Sparse models keep 8-bit entries packed on Hopper, and plainly on Blackwell, where they are the default.

    Of ``dcp`` ranks that divide the tokens each keeps the indexer's keys of all.
    """
    blackwell = settings.compute_capability[0] >= _BLACKWELL
    dtype = _dtype(architecture, settings)
    if cache.sparse and settings.kv_cache_dtype == "auto" and blackwell:
        dtype = "fp8_e4m3"
    packed = cache.sparse and dtype == "fp8_e4m3" and not blackwell
    entry = PACKED_FP8 if packed else int(cache.dim * _element_bytes(dtype))
    return entry + indexer_bytes(cache.indexer_dim) * dcp


def _dtype(architecture: Architecture, settings: SglangSettings) -> str:
    """``auto``: what the checkpoint asks for, or else the model's own."""
    if settings.kv_cache_dtype != "auto":
        return settings.kv_cache_dtype
    said = architecture.quantization
    return "fp8_e4m3" if said and said.kv_cache_dtype == "fp8" else architecture.dtype


def _element_bytes(dtype: str) -> float:
    if dtype not in _BYTES:
        raise NotKnown(f"a KV cache of dtype {dtype!r} in SGLang: known are {', '.join(_BYTES)}")
    return _BYTES[dtype]
