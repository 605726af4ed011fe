"""How does vLLM lay pages of several sizes side by side in one block?

Layers of one table whose page sizes come in equal numbers repeat a pattern (one page of each size); groups cover
equally many repeats. States and lone windows are split until they fit into the block that the others need anyway.
Source: _get_packed_kv_cache_groups and _approximate_gcd of v1/core/kv_cache_utils.py (0.29 to 0.33).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from diag.planner.memory.paging.pages import Kept


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Layers whose tables have one length; ``sizes``: their layers by the bytes of a page."""

    sizes: tuple[tuple[Kept, ...], ...]

    @property
    def repeats(self) -> int:
        """Of the pattern of page sizes."""
        return max(map(len, self.sizes))

    @property
    def balanced(self) -> bool:
        return len({len(layers) for layers in self.sizes}) == 1

    @property
    def mixed(self) -> bool:
        return self.balanced and len(self.sizes) > 1

    @property
    def layers(self) -> int:
        return sum(map(len, self.sizes))

    @property
    def page_bytes(self) -> int:
        return self.sizes[0][0].page.bytes

    def widest(self, count: int) -> int:
        """Bytes of the largest of ``count`` groups."""
        return sum(-(-len(layers) // count) * layers[0].page.bytes for layers in self.sizes)


def packed(kept: Sequence[Kept]) -> tuple[tuple[Kept, ...], ...]:
    buckets = _buckets(kept)
    repeats = _repeats(buckets)
    least = max(bucket.widest(_most_parts(bucket, repeats)) for bucket in buckets)
    return tuple(group for bucket in buckets for group in _split(bucket, _parts(bucket, repeats, least)))


def closest_multiple(counts: Sequence[int], least: int) -> int:
    """What all counts are rounded up to a multiple of at the least loss; the largest such number."""
    return min(
        range(max(1, least), max(*counts, least) + 1), key=lambda size: (sum(-count % size for count in counts), -size)
    )


def _buckets(kept: Sequence[Kept]) -> tuple[Bucket, ...]:
    tables: dict[tuple[str | int, ...], dict[int, list[Kept]]] = {}
    for one in kept:
        tables.setdefault(one.page.table, {}).setdefault(one.page.bytes, []).append(one)
    return tuple(Bucket(sizes=tuple(map(tuple, sizes.values()))) for sizes in tables.values())


def _repeats(buckets: Sequence[Bucket]) -> int:
    """Of the pattern in one group; 0: no bucket mixes page sizes evenly, nothing needs to be packed."""
    least = max((bucket.repeats for bucket in buckets if bucket.mixed), default=0)
    return closest_multiple([bucket.repeats for bucket in buckets if bucket.balanced], least) if least else 0


def _even_parts(bucket: Bucket, repeats: int) -> int:
    return -(-bucket.repeats // repeats) if repeats and bucket.balanced else 1


def _most_parts(bucket: Bucket, repeats: int) -> int:
    return bucket.layers if _splits_freely(bucket, repeats) else _even_parts(bucket, repeats)


def _parts(bucket: Bucket, repeats: int, least_bytes: int) -> int:
    """Groups that hold no more than a block of ``least_bytes`` fits."""
    even = _even_parts(bucket, repeats)
    if not _splits_freely(bucket, repeats):
        return even
    return max(even, -(-bucket.layers // max(1, least_bytes // bucket.page_bytes)))


def _splits_freely(bucket: Bucket, repeats: int) -> bool:
    kind = bucket.sizes[0][0].page.kind
    return kind == "state" or (not repeats and kind in ("window", "latent_window"))


def _split(bucket: Bucket, parts: int) -> list[tuple[Kept, ...]]:
    if parts == 1:
        return [tuple(one for layers in bucket.sizes for one in layers)]
    pattern = list(zip(*bucket.sizes, strict=False))
    return [tuple(one for repeat in pattern[first::parts] for one in repeat) for first in range(parts)]
