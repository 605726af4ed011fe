"""How much of a device's memory can really be had? Allocated in blocks to the limit, written, read back, given back."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from measure import Stand

WORD_BYTES = 8
SMALLEST_BYTES = 2 << 20


def measure(at: Stand, *, block_bytes: int = 1 << 30, limit_bytes: int | None = None) -> None:
    """``limit_bytes``: stop there (None: where the device refuses)."""
    torch, device = at.torch, at.devices[0]
    on_gpu = device.startswith("cuda")
    if not on_gpu and limit_bytes is None:
        raise ValueError("memory of the host is not filled without a limit")
    told_bytes = int(torch.cuda.mem_get_info(device)[0]) if on_gpu else int(limit_bytes or 0)
    at.meet()
    blocks = taken(torch, device, block_bytes, limit_bytes)
    for number, block in enumerate(blocks):
        block.fill_(mark(number))
    right = all(_holds(torch, block, mark(number)) for number, block in enumerate(blocks))
    allocatable_bytes = sum(block.numel() for block in blocks) * WORD_BYTES
    at.say(told_bytes=told_bytes, allocatable_bytes=allocatable_bytes, verified=right)


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
            if "memory" not in str(error):
                raise
            block_bytes //= 2
    if not blocks:
        raise MemoryError(f"not even {smallest >> 20} MiB could be allocated")
    return blocks


def mark(number: int) -> int:
    """Each block's own: two that lie on the same memory are seen."""
    return (number + 1) * 0x0101010101010101 % (1 << 62)


def _holds(torch: Any, block: Any, value: int) -> bool:
    low, high = torch.aminmax(block)
    return int(low) == value and int(high) == value
