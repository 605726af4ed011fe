"""How many blocks of 64 tokens does LMDeploy's PyTorch engine make of a rank's KV cache memory?

Symbols: n heads of a rank, d head dim, S tokens of a block, q bits of an element. A layer's K, V and their scales are
tensors of their own, each rounded up: n · S · d · q / 8, and a scale and a zero point where q < 16 and it is no fp8. It
frees nothing that lies outside a window. Source of 0.18: pytorch/engine/cache_engine, executor/base.py.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from diag.planner.memory.paging.entries import PACKED_FP8, indexer_bytes
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.split import Split, kv_heads
from diag.planner.model.architecture import Architecture, AttentionCache, Cache, LatentCache, StateCache
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.state import conv_elements, temporal_elements
from diag.planner.unknown import NotKnown

_BITS: Mapping[int, int] = {4: 4, 8: 8, 16: 8, 17: 8}
"""By quant_policy; 16 and 17 are fp8 and have no scales. 0: the model's dtype."""
_FP8 = (16, 17)
_ALIGNMENT = 256
_WIDE_HEAD, _WIDE_BLOCK = 512, 32
"""It halves its blocks for heads as wide as this."""
_SPARE_STATES = 2
"""Beside one for each request."""
_STATE_BYTES = 2
"""It keeps recurrent states in bfloat16."""
_LEAST_BLOCKS = 2


class LmdeploySettings(msgspec.Struct, frozen=True, kw_only=True):
    session_len: int
    max_batch_size: int
    quant_policy: int = 0
    cache_block_seq_len: int = 64


def paged(architecture: Architecture, split: Split, settings: LmdeploySettings, kv_bytes: int) -> Paged:
    """``kv_bytes``: cache_max_entry_count of what the weights, its runtime memory and ``state_pool_bytes`` leave free.

    Raises NotKnown.
    """
    size, tokens = _block_bytes(architecture, split, settings), _block_size(architecture, settings)
    blocks = max(0, kv_bytes) // size
    request = -(-settings.session_len // tokens)
    return Paged(
        blocks=blocks,
        block_size=tokens,
        bytes_per_block=size,
        bytes_per_token=size / tokens,
        request_blocks=request,
        request_bytes=request * size,
        capacity_tokens=blocks * tokens,
        printed_tokens=blocks * tokens,
        max_concurrency=blocks / request,
        max_requests=settings.max_batch_size,
        starts=blocks > _LEAST_BLOCKS,
    )


def state_pool_bytes(architecture: Architecture, split: Split, settings: LmdeploySettings) -> int:
    """Recurrent states of every request it may ever run at once; 0: the model has none."""
    return (settings.max_batch_size + _SPARE_STATES) * sum(
        _state_bytes(cache, architecture, split)
        for layer in architecture.layers
        for cache in layer.caches
        if isinstance(cache, StateCache)
    )


def _state_bytes(cache: StateCache, architecture: Architecture, split: Split) -> int:
    """The convolution's window has one input more than is needed."""
    conv = conv_elements(cache, tp=split.tp, drafted=1) * DTYPE_BYTES[architecture.dtype]
    return conv + temporal_elements(cache, tp=split.tp) * _STATE_BYTES


def _block_size(architecture: Architecture, settings: LmdeploySettings) -> int:
    wide = any(
        isinstance(cache, AttentionCache) and cache.head_dim >= _WIDE_HEAD
        for layer in architecture.layers
        for cache in layer.caches
    )
    tokens = settings.cache_block_seq_len
    return min(tokens, _WIDE_BLOCK) if wide else tokens


def _block_bytes(architecture: Architecture, split: Split, settings: LmdeploySettings) -> int:
    if split.pp > 1 or split.dcp > 1 or architecture.encoder:
        raise NotKnown("LMDeploy has no pipeline stages, does not divide tokens here and serves no encoders")
    if settings.quant_policy and settings.quant_policy not in _BITS:
        raise NotKnown(f"quant_policy {settings.quant_policy}: known are 0, {', '.join(map(str, _BITS))}")
    tokens, element = _block_size(architecture, settings), DTYPE_BYTES[architecture.dtype]
    size = sum(
        _page_bytes(cache, split, settings, tokens, element) for layer in architecture.layers for cache in layer.caches
    )
    if not size:
        raise NotKnown("a model without attention in LMDeploy")
    return size


def _page_bytes(cache: Cache, split: Split, settings: LmdeploySettings, tokens: int, element: int) -> int:
    """Of one layer."""
    if isinstance(cache, StateCache):
        return 0
    bits = _BITS.get(settings.quant_policy, 8 * element)
    if isinstance(cache, AttentionCache):
        heads = kv_heads(cache.kv_heads, split.tp)
        dims: tuple[int, ...] = (cache.head_dim, cache.v_head_dim)
        return sum(_tensor_bytes(tokens * heads, dim, bits, element, settings) for dim in dims)
    if not isinstance(cache, LatentCache):
        raise NotKnown("compressed layers in LMDeploy")
    if cache.sparse and settings.quant_policy in _FP8:
        entry = PACKED_FP8 * tokens
    else:
        entry = _tensor_bytes(tokens, cache.dim, bits, element, settings)
    return entry + _rounded(tokens * indexer_bytes(cache.indexer_dim))


def _tensor_bytes(rows: int, dim: int, bits: int, element: int, settings: LmdeploySettings) -> int:
    """Elements and, unless they are whole or fp8, a scale and a zero point a row in the model's dtype."""
    size = _rounded(rows * dim * bits // 8)
    scaled = settings.quant_policy and settings.quant_policy not in _FP8
    return size + (_rounded(rows * 2 * element) if scaled else 0)


def _rounded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
