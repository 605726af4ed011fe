"""Which layers of a model share a table of blocks in vLLM, and how large is one block of all of them?

A request takes blocks of each group from one pool, so a block must hold the largest group. Source:
v1/core/kv_cache_utils.py (from 0.33 on kv_cache_planning.py), get_kv_cache_groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec

from diag.planner.memory.paging.packing import packed
from diag.planner.memory.paging.pages import Kept, Kind, Page
from diag.planner.memory.paging.versions import PagingRules
from diag.planner.memory.same import Same
from diag.planner.unknown import NotKnown

Group = tuple[Kept, ...]
"""Layers that share a table; never empty."""

_WHOLE: Mapping[Kind, Kind] = {"window": "full", "chunk": "full", "latent_window": "latent"}
"""What a kind becomes that keeps every token."""


def groups(kept: Sequence[Kept], rules: PagingRules, *, hybrid: bool, side_by_side: bool) -> tuple[Group, ...]:
    """``hybrid``: windows get blocks of their own; ``side_by_side``: one block may hold pages of several sizes."""
    if not hybrid:
        kept = _without_windows(kept)
    if len({one.page.table for one in kept}) <= 1:
        return (tuple(kept),) if kept else ()
    sizes = {one.page.bytes for one in kept}
    if rules.packs and side_by_side and len(sizes) > 1:
        return packed(kept)
    if len(sizes) > 1:
        kept = _one_size(kept, rules)
        if len({one.page.table for one in kept}) == 1:
            return (tuple(kept),)
    return _balanced(kept, rules.balance)


def block_bytes(groups: Iterable[Group], layers: range | None = None) -> int:
    """Of the largest group, counting the pages of ``layers`` only (None: all)."""
    return max((sum(_in(group, layers)) for group in groups), default=0)


def group_blocks(group: Group, length: int, *, in_flight: int, dcp: int = 1) -> int:
    """Of a request; layers of a group have tables of one length, but not the same need."""
    return max(page.blocks(length, in_flight=in_flight, dcp=dcp) for page in _distinct(Same(group)))


@lru_cache(maxsize=1024)
def _distinct(group: Same[Group]) -> tuple[Page, ...]:
    """A search asks for thousands of lengths."""
    return tuple({one.page: None for one in group.value})


def _in(group: Group, layers: range | None) -> Iterable[int]:
    return (one.page.bytes for one in group if layers is None or one.layer in layers)


def _without_windows(kept: Sequence[Kept]) -> tuple[Kept, ...]:
    """Every token is kept; attention itself still sees only the window. A model of windows alone stays as it is."""
    sizes = {one.page.block_size for one in kept if one.page.grows}
    if len({one.page.table for one in kept}) == 1 or not sizes:
        return tuple(kept)
    if any(one.page.kind == "state" for one in kept):
        raise NotKnown("vLLM keeps recurrent states only with its hybrid KV cache manager")
    return tuple(_whole(one, min(sizes)) if one.page.kind in _WHOLE else one for one in kept)


def _whole(one: Kept, block_size: int) -> Kept:
    page = msgspec.structs.replace(one.page, kind=_WHOLE[one.page.kind], block_size=block_size, reach=0)
    return msgspec.structs.replace(one, page=page)


def _one_size(kept: Sequence[Kept], rules: PagingRules) -> tuple[Kept, ...]:
    """The largest page for all: more tokens a block where that divides, padding where it does not.

    MLA beside a window takes neither: then its windows keep every token.
    """
    largest = max(one.page.bytes for one in kept)
    resized = tuple(_resized(one, largest, rules) for one in kept)
    if None not in resized:
        return tuple(one for one in resized if one)
    kinds = {one.page.kind for one in kept}
    whole = _without_windows(kept)
    if rules.gives_up_windows and kinds == {"latent", "window"} and len({one.page.table for one in whole}) == 1:
        return whole
    raise NotKnown(f"vLLM cannot give layers with pages of {sorted({one.page.bytes for one in kept})} bytes one size")


def _resized(one: Kept, largest: int, rules: PagingRules) -> Kept | None:
    page = one.page
    if page.bytes == largest:
        return one
    if page.kind != "state" and largest % page.bytes == 0 and rules.resizes:
        bigger = msgspec.structs.replace(page, block_size=page.block_size * (largest // page.bytes))
    elif rules.pads and not page.kind.startswith("latent"):
        bigger = msgspec.structs.replace(page, padded_bytes=largest)
    else:
        return None
    return msgspec.structs.replace(one, page=bigger)


def _balanced(kept: Sequence[Kept], balance: float) -> tuple[Group, ...]:
    """Groups of equally many layers; the last of a kind may have fewer, whose place stays empty."""
    kinds: dict[Page, list[Kept]] = {}
    for one in kept:
        kinds.setdefault(one.page, []).append(one)
    fewest, most = min(map(len, kinds.values())), max(map(len, kinds.values()))
    size = most if most < fewest * balance else fewest
    found = []
    for layers in kinds.values():
        count = -(-len(layers) // size)
        found += [tuple(layers[first::count]) for first in range(count)]
    return tuple(found)
