"""Which pages do the layers of a model keep in vLLM on one rank?

Sources: model_executor/layers/attention, layers/mamba/abstract.py, models/deepseek_v2.py and models/deepseek_v4.
"""

from __future__ import annotations

from collections.abc import Iterator

from diag.planner.memory.paging import entries
from diag.planner.memory.paging.blocks import Sizes, sizes_of
from diag.planner.memory.paging.pages import Kept, Page
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
from diag.planner.unknown import NotKnown

_WINDOW_BLOCK = 64
"""Of the window of a layer with compressed entries."""
_ROW = 576
"""FlashMLA reads the entries of such layers in rows of so many bytes."""
_SUMMARY_BLOCKS = {4: 4, 128: 8}
"""Tokens of a block of what is not compressed yet, by the tokens of a summary."""
_OVERLAPPING = 4
"""Summaries of so many tokens overlap: their states are twice as wide, their windows twice as long."""
_FLOAT32 = 4


def kept_pages(architecture: Architecture, split: Split, settings: Settings) -> tuple[Kept, ...]:
    """In the order of the layers."""
    sizes = sizes_of(architecture, split, settings)
    pages: dict[tuple[Cache, ...], tuple[Page, ...]] = {}
    for layer in architecture.layers:
        if layer.caches not in pages:
            pages[layer.caches] = tuple(
                page for cache in layer.caches for page in _pages(cache, architecture, split, settings, sizes)
            )
    return tuple(
        Kept(layer=number, page=page)
        for number, layer in enumerate(architecture.layers)
        for page in pages[layer.caches]
    )


def _pages(cache: Cache, architecture: Architecture, split: Split, settings: Settings, sizes: Sizes) -> Iterator[Page]:
    if isinstance(cache, AttentionCache):
        yield _attention(cache, split, sizes)
    elif isinstance(cache, LatentCache):
        yield from _latent(cache, settings, sizes)
    elif isinstance(cache, StateCache):
        yield _state(cache, architecture, split, settings, sizes)
    else:
        yield from _compressed(cache, settings, sizes)


def _attention(cache: AttentionCache, split: Split, sizes: Sizes) -> Page:
    if split.dcp > 1 and (cache.window or cache.chunk):
        raise NotKnown("vLLM does not divide the tokens of windows over ranks", "--decode-context-parallel-size 1")
    heads = kv_heads(cache.kv_heads, split.tp)
    return Page(
        kind="window" if cache.window else "chunk" if cache.chunk else "full",
        block_size=sizes.block_size,
        entry_bytes=entries.attention_bytes(cache, heads, sizes.dtype),
        shape=(heads, cache.head_dim, cache.v_head_dim, sizes.dtype),
        reach=cache.window or cache.chunk,
    )


def _latent(cache: LatentCache, settings: Settings, sizes: Sizes) -> Iterator[Page]:
    dtype = entries.sparse_dtype(sizes.dtype, settings) if cache.sparse else sizes.dtype
    if cache.dim:
        entry = entries.latent_bytes(cache, dtype)
        yield Page(kind="latent", block_size=sizes.block_size, entry_bytes=entry, shape=(cache.dim, dtype))
    if cache.indexer_dim:
        entry = entries.indexer_bytes(cache.indexer_dim)
        yield Page(kind="latent", block_size=sizes.block_size, entry_bytes=entry, shape=("indexer",))


def _state(cache: StateCache, architecture: Architecture, split: Split, settings: Settings, sizes: Sizes) -> Page:
    """Kept whole: the current one, one for each guessed token, and with prefix caching one or two at ends of blocks."""
    caches = settings.caches_states
    if caches and not settings.rules.may_cache_states:
        raise NotKnown(f"prefix caching of {cache.kind} states before vLLM 0.26", "--no-enable-prefix-caching")
    size = state_bytes(cache, tp=split.tp, dtype_bytes=DTYPE_BYTES[architecture.dtype], drafted=settings.drafted)
    alone = 2 + (settings.checkpoint(cache.kind) is not None) if caches else 1
    return Page(
        kind="state",
        block_size=sizes.block_size if caches else settings.max_model_len,
        entry_bytes=size,
        shape=(cache.kind, *cache.temporal),
        states=alone + settings.drafted,
        padded_bytes=sizes.state_bytes if sizes.state_bytes > size else 0,
    )


def _compressed(cache: CompressedCache, settings: Settings, sizes: Sizes) -> Iterator[Page]:
    """The window, the summaries, what is not summed up yet; and the same of the keys of an indexer."""
    entry = entries.compressed_bytes(cache, settings.kv_cache_dtype)
    yield _window(cache.window, _WINDOW_BLOCK, entry, "window")
    if cache.ratio:
        yield _summaries(cache, entry, sizes, "summaries")
        yield _unsummed(cache, cache.dim)
    if cache.indexer_dim:
        yield _summaries(cache, entries.indexer_bytes(cache.indexer_dim), sizes, "indexer")
        yield _unsummed(cache, cache.indexer_dim)


def _summaries(cache: CompressedCache, entry: int, sizes: Sizes, what: str) -> Page:
    return Page(
        kind="latent",
        block_size=sizes.block_size,
        entry_bytes=entry,
        shape=(what,),
        tokens_per_entry=cache.ratio,
        multiple=_ROW,
    )


def _unsummed(cache: CompressedCache, dim: int) -> Page:
    """Keys and scores in float32."""
    if cache.ratio not in _SUMMARY_BLOCKS:
        raise NotKnown(f"summaries of {cache.ratio} tokens: known are 4 and 128")
    wide = 2 if cache.ratio == _OVERLAPPING else 1
    return _window(wide * cache.ratio, _SUMMARY_BLOCKS[cache.ratio], 2 * wide * dim * _FLOAT32, "unsummed")


def _window(reach: int, block_size: int, entry: int, what: str) -> Page:
    return Page(
        kind="latent_window", block_size=block_size, entry_bytes=entry, shape=(what,), reach=reach, multiple=_ROW
    )
