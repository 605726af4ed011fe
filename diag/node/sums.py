"""Is the sum of an all-reduce right? What each rank puts in, and what must come out, to the last element.

The pattern's period is odd, so no two chunks of a ring (powers of two apart) look alike: a chunk in the wrong place is
seen, and so is one that was added twice or not at all. Values are small integers: their float32 sums are exact.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PERIOD = 1023
VALUES = 61
ELEMENT_BYTES = 4


class Payload:
    """``tensor``: float32, ``size_bytes`` long, to be reduced in place."""

    def __init__(self, torch: Any, size_bytes: int, rank: int, world_size: int, device: str) -> None:
        self.count = size_bytes // ELEMENT_BYTES
        rows = -(-self.count // PERIOD)
        self.own = pattern(torch, rank).to(device)
        self.expected = sum(pattern(torch, other) for other in range(world_size)).to(device)
        self.storage = torch.empty(rows * PERIOD, dtype=torch.float32, device=device)
        self.tensor = self.storage[: self.count]

    def fill(self) -> None:
        """What this rank puts in."""
        self.storage.view(-1, PERIOD).copy_(self.own)

    def is_right(self) -> bool:
        """Whether every element of ``tensor`` is the sum over all ranks."""
        rows, rest = divmod(self.count, PERIOD)
        whole = self.storage[: rows * PERIOD].view(-1, PERIOD)
        tail = self.storage[rows * PERIOD : self.count]
        return bool((whole == self.expected).all()) and bool((tail == self.expected[:rest]).all())


def pattern(torch: Any, rank: int) -> Any:
    """One period of what ``rank`` puts in: no element is zero, and each rank's differ."""
    return (torch.arange(PERIOD) * (2 * rank + 1) % VALUES + 1).to(torch.float32)
