"""How many tokens does a block of vLLM's attention hold, and how large is a recurrent state beside it?

The attention kernels decide, unless told. With recurrent states, blocks grow until a page of them holds a whole state,
and states are padded to that page. Sources: platforms/cuda.py, the backends' get_preferred_block_size, and
platforms/interface.py, _align_hybrid_block_size (up to 0.19 models/config.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

from diag.planner.memory.paging import entries
from diag.planner.memory.paging.settings import Settings
from diag.planner.memory.paging.split import Split, kv_heads
from diag.planner.model.architecture import (
    Architecture,
    AttentionCache,
    Cache,
    CompressedCache,
    LatentCache,
    StateCache,
)
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.state import state_bytes

_BLOCK = 16
_SPARSE_BLOCK = 64
_CHOSEN_BLOCK = 128
"""Of keys and values whose blocks an indexer beside them chooses (MiniMax-M3)."""
_COMPRESSED_BLOCK = 256
_WIDE_HEAD, _HOPPER, _8BIT = 512, 9, ("fp8", "fp8_e4m3")
"""Of FlashAttention's kernel that reads 8-bit entries (flash_attn.py)."""


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """``block_size`` of attention in tokens; ``state_bytes`` of a padded state, 0: nothing to pad to."""

    dtype: str
    block_size: int
    state_bytes: int = 0


def sizes_of(architecture: Architecture, split: Split, settings: Settings) -> Sizes:
    dtype = entries.stored_dtype(architecture, settings)
    of_layers = list(dict.fromkeys(layer.caches for layer in architecture.layers))
    caches = list(dict.fromkeys(cache for layer in of_layers for cache in layer))
    block_size = settings.block_size or max((_preferred(layer, dtype, settings) for layer in of_layers), default=_BLOCK)
    states = [cache for cache in caches if isinstance(cache, StateCache)]
    attention = next((cache for cache in caches if isinstance(cache, (AttentionCache, LatentCache))), None)
    if not states or attention is None:
        return Sizes(dtype=dtype, block_size=block_size)
    dtype_bytes, drafted = DTYPE_BYTES[architecture.dtype], settings.drafted
    largest = max(state_bytes(one, tp=split.tp, dtype_bytes=dtype_bytes, drafted=drafted) for one in states)
    sizes = Sizes(dtype=dtype, block_size=block_size, state_bytes=largest)
    return _aligned(attention, sizes, _checkpoint_multiple(states, settings), split, settings)


def _checkpoint_multiple(states: Iterable[StateCache], settings: Settings) -> int:
    """Of tokens, at which every kind of state can be written in the middle of a prefill."""
    found = [settings.checkpoint(kind) for kind in {state.kind for state in states}]
    return math.lcm(*(one.multiple for one in found if one)) if None not in found else 1


def _aligned(
    cache: AttentionCache | LatentCache, sizes: Sizes, multiple: int, split: Split, settings: Settings
) -> Sizes:
    """Blocks of attention that hold a whole state, and states padded to them."""
    if isinstance(cache, LatentCache):
        token = entries.latent_bytes(cache, sizes.dtype)
        unit = max(sizes.block_size, settings.rules.latent_unit)
    else:
        token = entries.attention_bytes(cache, kv_heads(cache.kv_heads, split.tp), sizes.dtype)
        unit = sizes.block_size
    unit = math.lcm(unit, multiple)
    block_size = unit * -(-sizes.state_bytes // (unit * token))
    return Sizes(dtype=sizes.dtype, block_size=block_size, state_bytes=block_size * token)


def _preferred(caches: tuple[Cache, ...], dtype: str, settings: Settings) -> int:
    """Of one layer, by the attention kernels that this version takes by itself on this device."""
    major, narrow = settings.compute_capability[0], dtype not in DTYPE_BYTES
    kinds = {type(cache) for cache in caches}
    if kinds == {AttentionCache, LatentCache}:
        return _CHOSEN_BLOCK
    if kinds == {CompressedCache}:
        return _COMPRESSED_BLOCK
    latent = next((cache for cache in caches if isinstance(cache, LatentCache)), None)
    if latent is None:
        wide = any(isinstance(cache, AttentionCache) and cache.head_dim == _WIDE_HEAD for cache in caches)
        return settings.rules.wide_8bit_block if wide and major == _HOPPER and dtype in _8BIT else _BLOCK
    return _SPARSE_BLOCK if latent.sparse else settings.rules.latent_blocks.get(major, (_BLOCK, _BLOCK))[narrow]
