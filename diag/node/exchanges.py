"""What does each rank put into a collective, and what must come out, to the last element? One class for all of them.

``size_bytes`` is the size that the field counts: all of it for all-reduce and broadcast, what all ranks together hold
for all-gather, reduce-scatter and all-to-all (nccl-tests, PERFORMANCE.md).
"""

from __future__ import annotations

import sums

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ELEMENT_BYTES = 4


class Exchange:
    """``fill()`` before, ``run()``, ``is_right()`` after; the tensors stay where they are, as a CUDA graph needs."""

    def __init__(self, torch: Any, dist: Any, kind: str, size_bytes: int, who: Any) -> None:
        """``who``: this rank, with its ``rank``, ``world_size`` and ``device``."""
        self.torch, self.dist, self.kind = torch, dist, kind
        ranks, rank = range(who.world_size), who.rank
        part = max(1, size_bytes // ELEMENT_BYTES // len(ranks))
        whole = part * len(ranks)

        def put_in(other: int) -> Any:
            return _tiled(sums.pattern(torch, other).to(who.device), whole)

        def chunk(tensor: Any, place: int) -> Any:
            return tensor[place * part : (place + 1) * part].clone()

        self.size_bytes = whole * ELEMENT_BYTES
        self.given = chunk(put_in(rank), rank) if kind == "all_gather" else put_in(rank)
        if kind in ("all_reduce", "reduce_scatter"):
            total = _tiled(sum(sums.pattern(torch, other) for other in ranks).to(who.device), whole)
            self.expected = total if kind == "all_reduce" else chunk(total, rank)
        elif kind == "broadcast":
            self.expected = put_in(0)
        else:
            mine = kind == "all_to_all"
            self.expected = torch.cat([chunk(put_in(other), rank if mine else other) for other in ranks])
        self.kept = self.given.clone()
        self.came = self.given if kind in ("all_reduce", "broadcast") else torch.zeros_like(self.expected)

    def fill(self) -> None:
        self.came.zero_()
        self.given.copy_(self.kept)

    def run(self) -> None:
        dist = self.dist
        if self.kind == "all_reduce":
            dist.all_reduce(self.given)
        elif self.kind == "broadcast":
            dist.broadcast(self.given, 0)
        elif self.kind == "all_gather":
            dist.all_gather_into_tensor(self.came, self.given)
        elif self.kind == "reduce_scatter":
            dist.reduce_scatter_tensor(self.came, self.given)
        else:
            dist.all_to_all_single(self.came, self.given)

    def is_right(self) -> bool:
        return bool(self.torch.equal(self.came, self.expected))


def _tiled(period: Any, count: int) -> Any:
    return period.repeat(-(-count // len(period)))[:count].clone()
