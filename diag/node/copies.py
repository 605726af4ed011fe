"""How fast does a device copy its own memory, and exchange data with the host's, and does every byte arrive?

Pinned host memory, of the NUMA node that is asked for: a process that runs there gets its pages there (first touch).
"""

from __future__ import annotations

import numa
import stopwatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from measure import Stand

WORD_BYTES = 8


def inside(at: Stand, *, size_bytes: int, seconds: float) -> None:
    """``hbm``: one buffer copied to another; what is read and what is written both count."""
    torch, device = at.torch, at.devices[0]
    source = stopwatch.pattern(torch, device, size_bytes // WORD_BYTES, 1)
    target = torch.zeros_like(source)
    at.meet()
    times_s, right = _timed(torch, device, source, target, source, seconds=seconds)
    at.say(kind="hbm", size_bytes=2 * target.numel() * WORD_BYTES, times_s=times_s, verified=right)


def with_host(
    at: Stand,
    *,
    size_bytes: int,
    seconds: float,
    directions: list[str],
    pci_address: str = "",
    far: bool = False,
    root: str = "/",
) -> None:
    """``h2d``, ``d2h``, or both; from the device's own NUMA node, or with ``far`` from the most distant one.

    Says nothing where there is no other node to be far away on. Where we may run on no CPU of the device's own node,
    it is measured from where we are, and not ``near``.
    """
    torch, device = at.torch, at.devices[0]
    own = numa.of_device(pci_address, root)
    node = numa.farthest(own, root) if far else own
    if far and (node is None or node == own):
        return
    if node is not None and not numa.stay_on(node, root):
        node = numa.of_us(root)
    on_gpu = device.startswith("cuda")
    host = torch.empty(size_bytes // WORD_BYTES, dtype=torch.int64, pin_memory=on_gpu)
    there = torch.empty(size_bytes // WORD_BYTES, dtype=torch.int64, device=device)
    at.meet()
    for seed, direction in enumerate(directions):
        source, target = (host, there) if direction.startswith("h2d") else (there, host)
        source.copy_(stopwatch.pattern(torch, str(source.device), source.numel(), seed))
        target.zero_()
        expected = stopwatch.pattern(torch, str(target.device), target.numel(), seed)
        times_s, right = _timed(torch, device, source, target, expected, seconds=seconds)
        near = None if own is None else node == own
        at.say(kind=direction, size_bytes=size_bytes, times_s=times_s, verified=right, numa=node, near=near)


def _timed(
    torch: Any, device: str, source: Any, target: Any, expected: Any, *, seconds: float
) -> tuple[list[float], bool]:
    """Every byte is looked at after the first copy, and after one more into cleared memory at the end."""

    def copy() -> None:
        target.copy_(source, non_blocking=True)

    def arrived() -> bool:
        stopwatch.timed(torch, device, copy)
        return bool(torch.equal(target, expected))

    right = arrived()
    times_s = stopwatch.repeat(lambda: stopwatch.timed(torch, device, copy), seconds)
    target.zero_()
    return times_s, arrived() and right
