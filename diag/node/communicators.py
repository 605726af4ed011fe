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
PHASE = "communicators"


def measure(rank: Rank, torch: Any, dist: Any, sizes: list[int]) -> None:
    """Say what larger messages add to the first one, and {ranks: bytes}; null: it takes none of a GPU, or we have none.

    ``sizes``: of groups of ranks that follow each other; those that are left over form none.
    """
    rank.go_for(PHASE)
    one, many = torch.ones(1, device=rank.device), torch.ones(LARGE_BYTES // FLOAT_BYTES, device=rank.device)
    grown = _taken(rank, torch, dist, None, (one, many), rank.world_size)
    found: dict[int, int | None] = {}
    for size in sizes:
        groups = [dist.new_group(list(range(at, at + size))) for at in range(0, rank.world_size - size + 1, size)]
        if rank.rank // size < len(groups):
            found[size] = _taken(rank, torch, dist, groups[rank.rank // size], (one, many), size)
        for group in groups:
            if group != dist.GroupMember.NON_GROUP_MEMBER:
                dist.destroy_process_group(group)
    rank.reach(PHASE, communicators={"grown": grown, "sizes": found})


def _taken(  # noqa: PLR0917 - torch, and what it is asked
    rank: Rank, torch: Any, dist: Any, group: Any, tensors: tuple[Any, ...], size: int
) -> int | None:
    before = _free(rank, torch)
    for tensor in tensors:
        tensor.fill_(1)
        dist.all_reduce(tensor, group=group)
        if tensor[0].item() != size:
            raise ArithmeticError(f"a sum of {size} ranks: found {tensor[0].item():g}, expected {size}")
    after = _free(rank, torch)
    return None if before is None or after is None else before - after


def _free(rank: Rank, torch: Any) -> int | None:
    if rank.backend != "nccl":
        return None
    torch.cuda.synchronize()
    free_bytes: int = torch.cuda.mem_get_info(rank.device)[0]
    return free_bytes
