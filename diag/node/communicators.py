"""What does NCCL take of a GPU's memory for a group of so many ranks of this node?

The first communicator of a process takes along what NCCL itself needs; each further one shows what its group costs.
Buffers of larger messages come when one is sent: a small and a large sum are part of it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from allreduce import Rank

LARGE_BYTES = 64 << 20
FLOAT_BYTES = 4
LARGE_PHASE, PHASE = "large_sum", "communicators"
PATIENCE_S = 30.0
"""As for the first communicator of all."""


class Scale:
    """``sizes``: of groups of ranks that follow each other; those that are left over form none."""

    def __init__(self, rank: Rank, torch: Any, dist: Any, sizes: list[int]) -> None:
        self.rank, self.torch, self.dist, self.sizes = rank, torch, dist, sizes
        words = (1, LARGE_BYTES // FLOAT_BYTES)
        self.tensors = [torch.ones(count, device=rank.device) for count in words]
        self.grown: int | None = None

    def weigh_first(self) -> None:
        """What larger messages add to the first one: before anything else is sent."""
        self.rank.go_for(LARGE_PHASE)
        self.grown = self._taken(None, self.rank.world_size)
        self.rank.reach(LARGE_PHASE)

    def weigh_groups(self) -> None:
        """Say {ranks: bytes}; null: it takes none of a GPU. Behind all that is timed, as it may hang."""
        self.rank.roll.say("weighing", PATIENCE_S)
        self.rank.go_for(PHASE)
        found: dict[int, int | None] = {}
        for size in self.sizes:
            starts = range(0, self.rank.world_size - size + 1, size)
            groups = [self.dist.new_group(list(range(at, at + size))) for at in starts]
            place = self.rank.rank // size
            if place < len(groups):
                found[size] = self._taken(groups[place], size)
                self.dist.destroy_process_group(groups[place])
        self.rank.reach(PHASE, communicators={"grown": self.grown, "sizes": found})

    def _taken(self, group: Any, size: int) -> int | None:
        before = self._free()
        for tensor in self.tensors:
            tensor.fill_(1)
            with self.rank.standing.call():
                self.dist.all_reduce(tensor, group=group)
                total = tensor[0].item()
            if total != size:
                raise ArithmeticError(f"a sum of {size} ranks: found {total:g}, expected {size}")
        after = self._free()
        return None if before is None or after is None else before - after

    def _free(self) -> int | None:
        if self.rank.backend != "nccl":
            return None
        self.torch.cuda.synchronize()
        free_bytes: int = self.torch.cuda.mem_get_info(self.rank.device)[0]
        return free_bytes
