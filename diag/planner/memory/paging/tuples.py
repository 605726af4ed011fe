"""How did vLLM lay the pages of compressed layers in blocks, up to 0.28?

Layers that keep every token form one group; the windows, by block size and reach, groups of equally many tuples (one
page of each size). Up to 0.26 pages of windows are padded to the next size of the first group, and a block holds for
each size as many pages as the fullest group has of it; then groups overlap in a block as they are. Source:
v1/core/kv_cache_utils.py of 0.20 to 0.28 (_get_kv_cache_groups_uniform_groups, _max_memory_usage_bytes_from_groups).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from diag.planner.memory.paging.groups import Group, group_blocks
from diag.planner.memory.paging.packing import closest_multiple
from diag.planner.memory.paging.pages import Kept


def tupled(kept: Sequence[Kept], *, padded: bool) -> tuple[Group, ...]:
    full = tuple(one for one in kept if one.page.grows)
    windows: dict[tuple[int, int], list[Kept]] = {}
    for one in kept:
        if not one.page.grows:
            windows.setdefault((one.page.block_size, one.page.reach), []).append(one)
    counts = [_tuples(full), *map(_tuples, windows.values())]
    repeats = closest_multiple(counts, counts[0])
    sizes = sorted({one.page.bytes for one in full})
    fits = sizes if padded else []
    return (full, *(group for several in windows.values() for group in _split(several, repeats, fits)))


def block_bytes(groups: Sequence[Group], layers: range) -> int:
    """Of padded groups: for each size as many pages as the fullest group has."""
    counts = [Counter(one.page.bytes for one in group if one.layer in layers) for group in groups]
    return sum(size * max(count[size] for count in counts) for size in {size for count in counts for size in count})


def needed_bytes(groups: Sequence[Group], length: int, *, in_flight: int, dcp: int) -> int:
    """Of one request, as the start compares it: whole tuples of the first group's sizes for every block."""
    blocks = sum(group_blocks(group, length, in_flight=in_flight, dcp=dcp) for group in groups)
    return blocks * max(map(_tuples, groups)) * sum({one.page.bytes for one in groups[0]})


def logged_blocks(groups: Sequence[Group], length: int, *, in_flight: int, dcp: int) -> int:
    """Of one request, as the log counts them where groups are padded: bytes of all groups in blocks of the first."""
    total = sum(group_blocks(group, length, in_flight=in_flight, dcp=dcp) * _bytes(group) for group in groups)
    return -(-total // _bytes(groups[0]))


def _bytes(group: Group) -> int:
    return sum(one.page.bytes for one in group)


def _tuples(several: Sequence[Kept]) -> int:
    """Pages of the size that most have."""
    return max(Counter(one.page.bytes for one in several).values(), default=0)


def _split(several: Sequence[Kept], repeats: int, sizes: Sequence[int]) -> Iterator[Group]:
    """Groups of at most ``repeats`` tuples; ``sizes``: what pages are padded to."""
    of_size: dict[int, list[Kept]] = {}
    for one in several:
        fit = next((size for size in sizes if size >= one.page.bytes), one.page.bytes)
        page = one.page if fit == one.page.bytes else msgspec.structs.replace(one.page, padded_bytes=fit)
        of_size.setdefault(fit, []).append(msgspec.structs.replace(one, page=page))
    tuples = list(zip(*of_size.values(), strict=False))
    count = -(-len(tuples) // repeats)
    for first in range(count):
        yield tuple(one for several in tuples[first::count] for one in several)
