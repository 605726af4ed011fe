"""How many blocks, tokens and requests does vLLM make of a rank's KV cache memory?

Symbols: B bytes of a block = the largest group's pages; N = memory // B blocks, one of them the engine's own; R blocks
of one request = Σ over groups. Source: v1/core/kv_cache_utils.py (from 0.33 on kv_cache_planning.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cached_property

import msgspec

from diag.planner.memory.paging import tuples
from diag.planner.memory.paging.groups import Group, block_bytes, group_blocks, groups
from diag.planner.memory.paging.layers import kept_pages
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.pages import Kept
from diag.planner.memory.paging.settings import Settings
from diag.planner.memory.paging.split import Split, vllm_stage
from diag.planner.memory.paging.versions import Overlay
from diag.planner.model.architecture import Architecture, AttentionCache, Cache, CompressedCache
from diag.planner.unknown import NotKnown


class Layout(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Of one pipeline stage, before its memory is known. ``stage``: its layers; ``kept``: their pages, ungrouped."""

    groups: tuple[Group, ...]
    kept: tuple[Kept, ...]
    stage: range
    split: Split
    settings: Settings
    overlay: Overlay = ""
    """How its compressed layers lay in a block, before they were packed."""

    @cached_property
    def bytes_per_block(self) -> int:
        if self.overlay == "padded":
            return tuples.block_bytes(self.groups, self.stage)
        return block_bytes(self.groups, self.stage)

    @cached_property
    def block_size(self) -> int:
        """The smallest of any group that a longer request takes more of, for all ranks that divide its tokens."""
        growing = [one.page.block_size for group in self.groups for one in group if one.page.grows]
        return min(growing or (one.page.block_size for group in self.groups for one in group)) * self.split.dcp

    @property
    def in_flight(self) -> int:
        """Tokens that may be scheduled and not yet settled."""
        batches = self.split.pp + 1 if self.settings.rules.overlaps else 1
        return batches * self.settings.max_num_batched_tokens

    def request_blocks(self, length: int) -> int:
        return sum(group_blocks(group, length, in_flight=self.in_flight, dcp=self.split.dcp) for group in self.groups)

    def logged_blocks(self, length: int) -> int:
        """Of which the log says how many requests fit."""
        if self.overlay == "padded":
            return tuples.logged_blocks(self.groups, length, in_flight=self.in_flight, dcp=self.split.dcp)
        return self.request_blocks(length)


def layout(architecture: Architecture, split: Split, settings: Settings) -> Layout:
    """Groups are made of the whole model, so that all stages have the same. Raises NotKnown."""
    if architecture.encoder:
        raise NotKnown("an encoder keeps no KV cache that grows", "plan for a model that generates text")
    kept = kept_pages(architecture, split, settings)
    if not kept:
        raise NotKnown("no layer of this model keeps anything between tokens")
    caches = {cache for layer in architecture.layers for cache in layer.caches}
    hybrid, side_by_side = _hybrid(caches, settings), _has_summaries(caches, settings)
    overlay = settings.rules.overlay if side_by_side and not settings.rules.packs else ""
    if overlay and split.pp > 1:
        raise NotKnown("pipelines of compressed layers before vLLM 0.29", "plan for 0.29 or later")
    stage = vllm_stage(len(architecture.layers), split)
    return Layout(
        groups=tuples.tupled(kept, padded=overlay == "padded")
        if overlay
        else groups(kept, settings.rules, hybrid=hybrid, side_by_side=side_by_side),
        overlay=overlay,
        kept=tuple(one for one in kept if one.layer in stage),
        stage=stage,
        split=split,
        settings=settings,
    )


def _hybrid(caches: Iterable[Cache], settings: Settings) -> bool:
    chunked = any(isinstance(cache, AttentionCache) and cache.chunk for cache in caches)
    default = settings.rules.hybrid_chunks or not chunked
    return settings.rules.hybrid and (default if settings.hybrid is None else settings.hybrid)


def _has_summaries(caches: Iterable[Cache], settings: Settings) -> bool:
    """Whose pages lie side by side, by the layout that their indexer asks for."""
    found = any(isinstance(cache, CompressedCache) for cache in caches)
    if found and not (settings.rules.packs or settings.rules.overlay):
        raise NotKnown("how vLLM before 0.21 groups compressed layers", "plan for 0.21 or later")
    if found and settings.hybrid is False:
        raise NotKnown("compressed layers without the hybrid KV cache manager: vLLM fails to start")
    return found


def paged(layout: Layout, kv_bytes: int) -> Paged:
    """``kv_bytes`` of one rank of the stage. All stages take as many blocks as the poorest: see ``poorest``."""
    return _paged(layout, _blocks(layout, kv_bytes), starts=_starts(layout, layout.settings.max_model_len, kv_bytes))


def poorest(stages: Iterable[tuple[Layout, int]]) -> Paged:
    """Of the stages of a pipeline, each with the bytes that a rank of it has."""
    keeping = [(layout, kv_bytes) for layout, kv_bytes in stages if layout.bytes_per_block]
    blocks = min(_blocks(layout, kv_bytes) for layout, kv_bytes in keeping)
    starts = all(_starts(layout, layout.settings.max_model_len, kv_bytes) for layout, kv_bytes in keeping)
    return _paged(
        max((layout for layout, _ in keeping), key=lambda layout: layout.bytes_per_block), blocks, starts=starts
    )


def longest(layout: Layout, kv_bytes: int, limit: int) -> int:
    """Tokens of the longest context up to ``limit`` with which the engine starts; 0: not even with one."""
    least, most = 0, limit
    while least < most:
        middle = -(-(least + most) // 2)
        if _starts(layout, middle, kv_bytes):
            least = middle
        else:
            most = middle - 1
    return least


def _paged(layout: Layout, blocks: int, *, starts: bool) -> Paged:
    request, size = layout.request_blocks(layout.settings.max_model_len), layout.bytes_per_block
    concurrency = _concurrency(layout, blocks, layout.logged_blocks(layout.settings.max_model_len))
    return Paged(
        blocks=blocks,
        block_size=layout.block_size,
        bytes_per_block=size,
        bytes_per_token=_bytes_per_token(layout),
        request_blocks=request,
        request_bytes=request * size,
        capacity_tokens=_capacity(layout, blocks, request),
        printed_tokens=_printed(layout, blocks, concurrency),
        max_concurrency=concurrency,
        starts=starts,
    )


def _blocks(layout: Layout, kv_bytes: int) -> int:
    return max(0, kv_bytes) // layout.bytes_per_block


def _starts(layout: Layout, length: int, kv_bytes: int) -> bool:
    own = layout.bytes_per_block if layout.settings.rules.keeps_null_block else 0
    return _needed_bytes(layout, length) <= kv_bytes - own


def _needed_bytes(layout: Layout, length: int) -> int:
    """That one request needs, as the engine counts it before it starts."""
    checked, dcp = layout.settings.rules.checked, layout.split.dcp
    if layout.overlay:
        return tuples.needed_bytes(layout.groups, length, in_flight=layout.in_flight, dcp=dcp)
    if checked == "layers":
        pages = Counter(one.page for one in layout.kept)
        return sum(
            count * page.bytes * page.blocks(length, in_flight=layout.in_flight, dcp=dcp)
            for page, count in pages.items()
        )
    counted = layout.groups[:1] if checked == "first group" else layout.groups
    blocks = sum(group_blocks(group, length, in_flight=layout.in_flight, dcp=dcp) for group in counted)
    return blocks * layout.bytes_per_block


def _concurrency(layout: Layout, blocks: int, request: int) -> float:
    """Up to 0.8 of tokens, since then of whole blocks."""
    if layout.settings.rules.printed == "blocks":
        return blocks * layout.block_size / layout.settings.max_model_len
    return blocks / request


def _printed(layout: Layout, blocks: int, concurrency: float) -> int:
    if layout.settings.rules.printed == "requests":
        return int(concurrency * layout.settings.max_model_len)
    smallest = min(one.page.block_size for group in layout.groups for one in group)
    return blocks // len(layout.groups) * smallest * layout.split.dcp


def _capacity(layout: Layout, blocks: int, request: int) -> int:
    """Without the engine's own block."""
    usable = max(0, blocks - 1)
    if len(layout.groups) == 1 and layout.groups[0][0].page.grows:
        return usable * layout.block_size
    return usable * layout.settings.max_model_len // request


def _bytes_per_token(layout: Layout) -> float:
    """A block of every growing group for each of its blocks' tokens."""
    growing = (group[0].page for group in layout.groups if group[0].page.grows)
    return sum(layout.bytes_per_block / (page.block_size * layout.split.dcp) for page in growing)
