"""How many blocks does TurboMind, the engine that LMDeploy starts by itself, make of a rank's KV cache memory?

Symbols: n heads of a rank, d head dim, S tokens of a block, q bits of an element. A block holds all layers:
n · S · (d · q / 8, and a scale and a zero point in the model's dtype where q < 16), twice, for keys and for values. It
frees nothing that lies outside a window. Versions:
 - 0.9: MLA keeps keys and values of all heads, as wide as its queries;
 - 0.12.0: blocks are as large as those of one rank, however many share the heads;
 - 0.12.2: they are not, and MLA keeps its compressed entry alone; recurrent layers;
 - 0.12.3: recurrent states of every request it may ever run are taken from the same memory at the start;
 - 0.15: blocks and states are objects of slabs of whole 32 MiB, no more than 5 % of which is left over where that can
   be; states are those of the requests that run. The log names bytes, no tokens any more.
Sources: kernels/attention/block.h, SequenceManager.cc, BlockManager.cc, engine.cc, from 0.15 memory/page.h, slab.h,
object.cc and GatedDeltaNetLayer.cc, of the tags up to 0.16; wheels of 0.17 and 0.18.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.split import Split, kv_heads
from diag.planner.model.architecture import Architecture, AttentionCache, Cache, LatentCache, Layer, StateCache
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.state import conv_elements, temporal_elements
from diag.planner.unknown import NotKnown
from diag.units import GIB, MIB

BITS = (4, 8)
"""By quant_policy; 0: the model's dtype."""
PAGE_BYTES, MOST_SLAB_BYTES = 32 * MIB, GIB
LEAST_USED = 0.95
"""Of a slab: it is doubled until so much of it is."""
QUANTIZED_DIM = 128
"""Heads of which it keeps quantized keys and values (docs/en/supported_models)."""
FOLDED_DIM = 576
"""The only width of a compressed entry that its kernels read."""

States = Literal["none", "pool", "objects"]


class TurbomindPaging(msgspec.Struct, frozen=True, kw_only=True):
    """Of a version. ``latent_heads``: MLA keeps keys and values of all heads. ``windows_of``: whose it heeds."""

    latent_heads: bool = False
    divides_heads: bool = True
    states: States = "objects"
    slabs: bool = True
    head_dims: tuple[int, ...] = (64, 128, 256)
    windows_of: tuple[str, ...] = ("GptOssForCausalLM",)


class TurbomindSettings(msgspec.Struct, frozen=True, kw_only=True):
    paging: TurbomindPaging = TurbomindPaging()
    session_len: int
    max_batch_size: int
    quant_policy: int = 0
    cache_block_seq_len: int = 64


def paged(architecture: Architecture, split: Split, settings: TurbomindSettings, kv_bytes: int) -> Paged:
    """``kv_bytes``: cache_max_entry_count of what is free. Raises NotKnown."""
    size, tokens = _block_bytes(architecture, split, settings), settings.cache_block_seq_len
    state, request = _state_bytes(architecture, split, settings), -(-settings.session_len // tokens)
    request_bytes = request * size + (state if settings.paging.slabs else 0)
    if settings.paging.slabs:
        blocks = _beside_states(_in_slabs(kv_bytes, size) * size, size, request, state, settings.max_batch_size)
    else:
        blocks = max(0, kv_bytes - state * settings.max_batch_size) // size
    return Paged(
        blocks=blocks,
        block_size=tokens,
        bytes_per_block=size,
        bytes_per_token=size / tokens,
        request_blocks=request,
        request_bytes=request_bytes,
        capacity_tokens=blocks * tokens,
        printed_tokens=blocks * tokens,
        max_concurrency=blocks / request,
        max_requests=settings.max_batch_size,
        starts=blocks > 0,
    )


def _in_slabs(kv_bytes: int, size: int) -> int:
    """Of the bytes in whole pages; one more is lost where their start is aligned."""
    slab = max(PAGE_BYTES, 1 << (size - 1).bit_length())
    while slab // size * size / slab < LEAST_USED and slab < MOST_SLAB_BYTES:
        slab *= 2
    pages = max(0, kv_bytes) // PAGE_BYTES - 1
    return max(0, pages // (slab // PAGE_BYTES) * (slab // size))


def _beside_states(usable: int, size: int, request: int, state: int, most: int) -> int:
    """Blocks of as many requests as their states leave room for, and of the begun one."""
    whole = min(most, usable // (request * size + state))
    left = usable - whole * (request * size + state) - (state if whole < most else 0)
    return whole * request + max(0, left) // size


def _state_bytes(architecture: Architecture, split: Split, settings: TurbomindSettings) -> int:
    """Of a request. The convolution's window has one input more than is needed; all in the model's dtype."""
    states = [one for _, one in _caches(architecture) if isinstance(one, StateCache)]
    if states and settings.paging.states == "none":
        raise NotKnown("recurrent layers in TurboMind before 0.12.3", "upgrade lmdeploy to 0.12.3 or later")
    elements = sum(conv_elements(one, tp=split.tp, drafted=1) + temporal_elements(one, tp=split.tp) for one in states)
    return elements * DTYPE_BYTES[architecture.dtype]


def _block_bytes(architecture: Architecture, split: Split, settings: TurbomindSettings) -> int:
    if split.pp > 1 or split.dcp > 1 or architecture.encoder:
        raise NotKnown("TurboMind has no pipeline stages, does not divide tokens here and serves no encoders")
    if settings.quant_policy and settings.quant_policy not in BITS:
        raise NotKnown(f"quant_policy {settings.quant_policy} in TurboMind: it has 0, 4 and 8", "--backend pytorch")
    size = sum(_layer_bytes(layer, cache, architecture, split, settings) for layer, cache in _caches(architecture))
    if not size:
        raise NotKnown("a model without attention in TurboMind")
    return size


def _caches(architecture: Architecture) -> Iterator[tuple[Layer, Cache]]:
    return ((layer, cache) for layer in architecture.layers for cache in layer.caches)


def _layer_bytes(
    layer: Layer, cache: Cache, architecture: Architecture, split: Split, settings: TurbomindSettings
) -> int:
    if isinstance(cache, StateCache):
        return 0
    element, ranks = DTYPE_BYTES[architecture.dtype], split.tp if settings.paging.divides_heads else 1
    if isinstance(cache, AttentionCache):
        entries, dim = 2 * kv_heads(cache.kv_heads, ranks), cache.head_dim
        if settings.quant_policy and dim != QUANTIZED_DIM:
            raise NotKnown(f"a quantized cache of heads of {dim} in TurboMind: its documentation has {QUANTIZED_DIM}")
    elif not isinstance(cache, LatentCache) or cache.sparse:
        raise NotKnown("sparse or compressed attention in TurboMind")
    elif settings.quant_policy:
        raise NotKnown("a quantized cache of latent attention in TurboMind")
    elif settings.paging.latent_heads:
        entries, dim = 2 * kv_heads(architecture.heads, ranks), _query_dim(layer, architecture)
    elif cache.dim != FOLDED_DIM:
        raise NotKnown(f"latent attention of {cache.dim} elements in TurboMind: it has {FOLDED_DIM}")
    else:
        entries, dim = 1, cache.dim
    bits, scales = (settings.quant_policy, 2 * element) if settings.quant_policy else (8 * element, 0)
    return entries * settings.cache_block_seq_len * (dim * bits // 8 + scales)


def _query_dim(layer: Layer, architecture: Architecture) -> int:
    rows = next((one.rows for one in layer.weights if one.name.endswith((".q_b_proj", ".q_proj"))), None)
    if rows is None:
        raise NotKnown(f"how wide the queries of {architecture.name} are")
    return rows // architecture.heads
