"""What do message sizes and times say of a path: how long does nothing take, and what does each byte add?

The α–β model of communication (Hockney 1994): time = latency + size / rate. It does not know where one protocol of a
library gives way to the next; what bends there shows as residue.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import msgspec

from diag.facts.record import NotMeasured

FEWEST = 2
"""Sizes; of one the two terms cannot be told apart."""
STEPS = 30
TUNING = 1.345 * 1.4826
"""Huber's constant, for a scale that is a median absolute deviation."""
EXACT = 1e-9


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    latency_s: float
    bytes_per_s: float

    def time_s(self, size_bytes: float) -> float:
        return self.latency_s + size_bytes / self.bytes_per_s


def alpha_beta(points: Sequence[tuple[float, float]]) -> Cost:
    """Of ``(size_bytes, time_s)``: least squares of relative errors, outliers weighted down (Huber).

    The latency is never negative. Raises NotMeasured where there are no two sizes, or larger ones take no longer.
    """
    sound = [(size, time) for size, time in points if size > 0 and time > 0]
    if len({size for size, _ in sound}) < FEWEST:
        raise NotMeasured(f"latency and rate follow from times of {FEWEST} sizes or more")
    weights = [1.0] * len(sound)
    alpha, slope = _solved(sound, weights)
    for _ in range(STEPS):
        errors = [abs(alpha + slope * size - time) / time for size, time in sound]
        scale = max(TUNING * median(errors), EXACT)
        weights = [min(1.0, scale / error) if error else 1.0 for error in errors]
        alpha, slope = _solved(sound, weights)
    if slope <= 0:
        raise NotMeasured("larger messages took no longer than small ones")
    return Cost(latency_s=alpha, bytes_per_s=1 / slope)


def _solved(points: Sequence[tuple[float, float]], weights: Sequence[float]) -> tuple[float, float]:
    """Latency and seconds a byte; without a latency where it would be negative."""
    rows = [(weight / time**2, size, time) for (size, time), weight in zip(points, weights, strict=True)]
    total = sum(w for w, _, _ in rows)
    size = sum(w * x for w, x, _ in rows) / total
    time = sum(w * y for w, _, y in rows) / total
    slope = sum(w * (x - size) * (y - time) for w, x, y in rows) / sum(w * (x - size) ** 2 for w, x, _ in rows)
    alpha = time - slope * size
    if alpha >= 0:
        return alpha, slope
    return 0.0, sum(w * x * y for w, x, y in rows) / sum(w * x * x for w, x, _ in rows)
