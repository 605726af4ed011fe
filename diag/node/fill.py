"""How much of a device's memory can really be had? Allocated in blocks to the limit, written, read back, given back.

What the check itself needs is taken first: CUDA loads a kernel when it is first used, which takes memory of the device.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from measure import Stand

WORD_BYTES = 8
SMALLEST_BYTES = 2 << 20
REFUSALS = ("out of memory", "not enough memory", "allocate memory")
"""As torch says it of a device, of CUDA's own, and of the host."""


def measure(at: Stand, *, block_bytes: int = 1 << 30, limit_bytes: int | None = None) -> None:
    """``limit_bytes``: stop there (None: where the device refuses)."""
    torch, device = at.torch, at.devices[0]
    on_gpu = device.startswith("cuda")
    if not on_gpu and limit_bytes is None:
        raise ValueError("memory of the host is not filled without a limit")
    told_bytes = int(torch.cuda.mem_get_info(device)[0]) if on_gpu else int(limit_bytes or 0)
    at.meet()
    kept = warmed_up(torch, device, block_bytes if limit_bytes is None else min(block_bytes, limit_bytes))
    blocks = taken(torch, device, block_bytes, limit_bytes)
    right = hold(torch, device, blocks)
    allocatable_bytes = sum(block.numel() for block in blocks) * WORD_BYTES
    at.say(told_bytes=told_bytes, allocatable_bytes=allocatable_bytes, verified=right)
    del kept


def warmed_up(torch: Any, device: str, block_bytes: int) -> list[Any]:
    """Check a large and a small block, as all are checked later.

    What comes back has to be kept: torch gives a segment of which nothing is used any more back to the driver when
    memory is short, and the results of the check lie in one of 2 MiB.
    """
    blocks = taken(torch, device, block_bytes, block_bytes)
    del blocks[:-1]  # a device that is nearly full gave several, ever smaller: there has to be room
    emptied(torch, device)
    kept: list[Any] = []
    for part in (blocks[0], blocks[0][: SMALLEST_BYTES // WORD_BYTES]):
        part.fill_(mark(0))
        kept += torch.aminmax(part)
        _holds(torch, part, mark(0))
    return kept


def taken(torch: Any, device: str, block_bytes: int, limit_bytes: int | None) -> list[Any]:
    """Blocks that get smaller once the device refuses one, down to 2 MiB."""
    blocks: list[Any] = []
    had, smallest = 0, min(SMALLEST_BYTES, block_bytes)
    while block_bytes >= smallest:
        if limit_bytes is not None and had + block_bytes > limit_bytes:
            block_bytes //= 2
            continue
        try:
            blocks.append(torch.empty(block_bytes // WORD_BYTES, dtype=torch.int64, device=device))
            had += block_bytes
        except RuntimeError as error:
            if not refused(error):
                raise
            block_bytes //= 2
    if not blocks:
        raise MemoryError(f"not even {smallest >> 20} MiB could be allocated")
    return blocks


def refused(error: RuntimeError) -> bool:
    """Whether there is no more; an illegal access is about memory too, and another error."""
    return any(words in str(error) for words in REFUSALS)


def hold(torch: Any, device: str, blocks: list[Any]) -> bool:
    """Whether all can be written and read back. Where that is refused, the smallest are given back, more each time."""
    give_back = 1
    while True:
        try:
            for number, block in enumerate(blocks):
                block.fill_(mark(number))
            return all(_holds(torch, block, mark(number)) for number, block in enumerate(blocks))
        except RuntimeError as error:
            if not refused(error) or give_back >= len(blocks):
                raise
        del block  # the last one that was looked at
        del blocks[-give_back:]
        give_back *= 2
        emptied(torch, device)


def emptied(torch: Any, device: str) -> None:
    """The driver has what we let go: its own loading of kernels does not ask torch for it."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def mark(number: int) -> int:
    """Each block's own: two that lie on the same memory are seen."""
    return (number + 1) * 0x0101010101010101 % (1 << 62)


def _holds(torch: Any, block: Any, value: int) -> bool:
    low, high = torch.aminmax(block)
    return int(low) == value and int(high) == value
