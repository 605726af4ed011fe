"""How long does work on a device (``cuda:0``, ``cpu``) last? By events of the GPU itself; on the CPU by the clock."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

KEPT = 60
"""So many repetitions at most are told; of more, every so-manieth."""


def timed(torch: Any, device: str, work: Callable[[], object], times: int = 1) -> float:
    """Seconds of ``times`` repetitions, one after another without a pause between them."""
    if not device.startswith("cuda"):
        began = time.perf_counter()
        for _ in range(times):
            work()
        return time.perf_counter() - began
    with torch.cuda.device(device):
        began_event, ended_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        began_event.record()
        for _ in range(times):
            work()
        ended_event.record()
        torch.cuda.synchronize(device)
    return float(began_event.elapsed_time(ended_event)) / 1e3


def repeat(once: Callable[[], float], seconds: float, least: int = 3) -> list[float]:
    """What ``once()`` returns, again and again for ``seconds``, and ``least`` times in any case."""
    return thinned(list(each(once, seconds, least)))


def each(once: Callable[[], float], seconds: float, least: int = 3) -> Iterator[float]:
    """As ``repeat``, one at a time."""
    until, count = time.monotonic() + seconds, 0
    while count < least or time.monotonic() < until:
        yield once()
        count += 1


def thinned(values: list[float]) -> list[float]:
    """At most KEPT of them, evenly spread, six digits each: a line has to stay short."""
    step = -(-len(values) // KEPT)
    return [float("%.6g" % value) for value in values[::step]]


def pattern(torch: Any, device: str, count: int, seed: int) -> Any:
    """``count`` 64-bit numbers that any device computes alike; no two neighbours are, and no page is like another."""
    return (
        torch.arange(count, dtype=torch.int64, device=device).mul_(6364136223846793005).add_(1442695040888963407 + seed)
    )
