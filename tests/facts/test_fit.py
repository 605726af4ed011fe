"""Are latency and rate those of the path, whatever single times say?"""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.facts.fit import alpha_beta
from diag.facts.record import NotMeasured

SIZES = [2**power for power in range(13, 31)]
CHECKED = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@CHECKED
@given(st.floats(1e-6, 1e-2), st.floats(1e6, 1e11))
def test_exact_times_give_both_terms_back(latency_s, bytes_per_s):
    cost = alpha_beta([(size, latency_s + size / bytes_per_s) for size in SIZES])
    assert cost.time_s(SIZES[0]) == pytest.approx(latency_s + SIZES[0] / bytes_per_s, rel=1e-3)
    assert cost.time_s(SIZES[-1]) == pytest.approx(latency_s + SIZES[-1] / bytes_per_s, rel=1e-3)
    assert cost.latency_s >= 0


def test_noise_and_a_few_hiccups_move_them_little():
    dice = random.Random(3)
    points = [(size, (50e-6 + size / 1e9) * dice.gauss(1, 0.03)) for size in SIZES for _ in range(5)]
    points = [(size, 10 * time if place % 12 == 0 else time) for place, (size, time) in enumerate(points)]
    cost = alpha_beta(points)
    assert cost.latency_s == pytest.approx(50e-6, rel=0.1)
    assert cost.bytes_per_s == pytest.approx(1e9, rel=0.05)


def test_the_latency_is_never_negative():
    cost = alpha_beta([(1000, 1e-6), (2000, 4e-6), (4000, 9e-6)])
    assert cost.latency_s == 0


@pytest.mark.parametrize("points", [[], [(8, 1.0)], [(8, 1.0), (8, 2.0)], [(8, 2.0), (4096, 1.0), (0, 1.0)]])
def test_one_size_or_faster_large_ones_tell_nothing(points):
    with pytest.raises(NotMeasured):
        alpha_beta(points)
