"""Which of many figures that should be alike is far below the others? Robust: the odd ones do not move the measure.

Each is compared with all others, itself left out. It is slow when it lies below their median by more than their own
spread explains and by more than a share that matters. The spread is Rousseeuw's and Croux's Qn (of many values the
median absolute deviation), and never taken for less than ``FLOOR``: four that are alike by luck accuse no fifth.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from statistics import median
from typing import TypeVar

import msgspec

MATTERS = 0.03
"""Less than 3 % below the others is nobody's fault, however little they differ."""
FLOOR = 0.004
"""The least spread, as a share: sound devices of one model differ by that much."""
FEWEST = 3
MANY = 40
"""More pairs than of so many values are not looked at."""
QN, MAD = 2.2219, 1.4826
"""What makes each of the two measures the standard deviation of a normal distribution (Rousseeuw and Croux, 1993)."""
QN_FEW = {2: 0.399, 3: 0.994, 4: 0.512, 5: 0.844, 6: 0.611, 7: 0.857, 8: 0.669, 9: 0.872}

K = TypeVar("K", bound=Hashable)


class Slow(msgspec.Struct, frozen=True, kw_only=True):
    """``share``: how far below the others; ``others``: their median."""

    value: float
    others: float
    count: int

    @property
    def share(self) -> float:
        return 1 - self.value / self.others


def deviations(count: int) -> float:
    """How many deviations below are too many, so that among ``count`` sound ones hardly any is accused.

    Simulated: about 1 of 100 sound clusters of 3 to 64 devices where their spread is 1 %, none where it is 0.5 %.
    """
    return 3.6 + 8 / count + 0.12 * math.log(count)


def spread(values: Sequence[float]) -> float:
    """A robust standard deviation; up to half of the values may be odd."""
    count = len(values)
    if count > MANY:
        middle = median(values)
        return MAD * median(abs(value - middle) for value in values)
    half = count // 2 + 1
    apart = sorted(abs(a - b) for a, b in combinations(values, 2))
    few = QN_FEW.get(count) or (count / (count + 1.4) if count % 2 else count / (count + 3.8))
    return QN * few * apart[half * (half - 1) // 2 - 1]


def slow(values: Mapping[K, float]) -> dict[K, Slow]:
    """Those that are; empty where fewer than three can be compared, or as many are slow as are not."""
    if len(values) < FEWEST:
        return {}
    many = len(values) > MANY
    whole = _usual(list(values.values())) if many else (0.0, 0.0)  # of so many, one alone moves neither
    found = {}
    for key, value in values.items():
        middle, usual = whole if many else _usual([other for name, other in values.items() if name != key])
        if middle > 0 and value < middle - max(MATTERS * middle, deviations(len(values)) * usual):
            found[key] = Slow(value=value, others=middle, count=len(values) - 1)
    return found if 2 * len(found) < len(values) else {}


def _usual(values: Sequence[float]) -> tuple[float, float]:
    """Their median and spread."""
    middle = median(values)
    return middle, max(FLOOR * middle, spread(values))
