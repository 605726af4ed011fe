"""How fast did bytes arrive, once a flow was under way? From samples of how many had come; steady parts of its time."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import threading
    from typing import Any

WARM_UP_SHARE = 0.4
"""Of its time a flow is not counted: windows grow, and a shaped link first spends what it saved (256 KiB are a tenth of
a second at 20 Mbit/s)."""
WINDOWS = 8
SAMPLE_S = 0.01


def sampled(threads: list[threading.Thread], counts: list[int], limit_s: float) -> list[tuple[float, int]]:
    """(time, bytes so far), from the first byte to the end of the last connection."""
    samples: list[tuple[float, int]] = []
    until = time.monotonic() + limit_s
    while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
        total = sum(count for count in counts if count > 0)
        if total:
            samples.append((time.monotonic(), total))
        time.sleep(SAMPLE_S)
    return samples


def rate(samples: list[tuple[float, int]], seconds: float) -> dict[str, Any]:
    if not samples:
        return {"rate": 0.0, "windows": []}
    began = samples[0][0]
    first, last = began + WARM_UP_SHARE * seconds, min(began + seconds, samples[-1][0])
    edges = [_bytes_at(samples, first + (last - first) * part / WINDOWS) for part in range(WINDOWS + 1)]
    if last <= first:  # a few bytes, and then nothing
        return {"rate": samples[-1][1] / max(seconds, samples[-1][0] - began), "windows": []}
    width = (last - first) / WINDOWS
    windows = [(after - before) / width for before, after in zip(edges, edges[1:])]
    return {"rate": (edges[-1] - edges[0]) / (last - first), "windows": [round(one) for one in windows]}


def _bytes_at(samples: list[tuple[float, int]], when: float) -> float:
    """Between two samples in proportion."""
    before = samples[0]
    for after in samples:
        if after[0] >= when:
            span = after[0] - before[0]
            return before[1] + (after[1] - before[1]) * ((when - before[0]) / span if span > 0 else 1.0)
        before = after
    return float(before[1])
