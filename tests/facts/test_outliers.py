"""Is the slow one found, and no sound one accused? Clusters of normal spread, with fixed seeds."""

from __future__ import annotations

import random

import pytest

from diag.facts.outliers import slow, spread

CLUSTERS = 400


def cluster(count: int, deviation: float, seed: int, *, behind: float = 0.0) -> dict[int, float]:
    """Rates around one; the first is ``behind``."""
    dice = random.Random(seed)
    return {place: dice.gauss(1 - behind * (place == 0), deviation) for place in range(count)}


def share(count: int, deviation: float, *, behind: float = 0.0) -> tuple[float, float]:
    """In how many clusters the first was found, and in how many any other was."""
    found = [slow(cluster(count, deviation, seed, behind=behind)) for seed in range(CLUSTERS)]
    return sum(0 in each for each in found) / CLUSTERS, sum(bool(each.keys() - {0}) for each in found) / CLUSTERS


@pytest.mark.parametrize(("count", "deviation"), [(8, 0.002), (8, 0.004), (16, 0.005), (32, 0.005), (64, 0.005)])
def test_one_that_is_five_percent_slow_is_found_in_more_than_98_of_100(count, deviation):
    found, accused = share(count, deviation, behind=0.05)
    assert found >= 0.98
    assert accused <= 0.01


@pytest.mark.parametrize("count", [3, 4, 5, 8, 16, 64])
@pytest.mark.parametrize("deviation", [0.002, 0.005, 0.0075])
def test_of_sound_clusters_hardly_any_is_accused(count, deviation):
    first, others = share(count, deviation)
    assert first + others <= 0.01


@pytest.mark.parametrize("count", [8, 32])
def test_with_a_spread_of_one_percent_sound_clusters_are_left_alone_too(count):
    first, others = share(count, 0.01)
    assert first + others <= 0.02


def test_one_that_is_eight_percent_slow_is_found_among_four():
    assert share(4, 0.004, behind=0.08)[0] >= 0.98


def test_two_cannot_be_told_apart():
    assert slow({"a": 1.0, "b": 0.5}) == {}


def test_less_than_three_percent_is_nobody_s_fault():
    assert slow({**dict.fromkeys(range(20), 1.0), "late": 0.975}) == {}


def test_two_slow_ones_do_not_hide_each_other():
    found = slow({**cluster(16, 0.003, 1), "one": 0.9, "two": 0.8})
    assert found.keys() == {"one", "two"}
    assert found["two"].share == pytest.approx(0.2, abs=0.01)


def test_a_bimodal_half_accuses_nobody():
    assert slow(dict(enumerate([1.0] * 8 + [0.9] * 8))) == {}


@pytest.mark.parametrize("count", [9, 20, 40, 41, 200])
def test_the_spread_is_that_of_the_sound_ones_whatever_a_few_do(count):
    values = list(cluster(count, 0.01, 3).values())
    estimates = []
    for seed in range(60):
        values = list(cluster(count, 0.01, seed).values())
        values[0] = 0.2
        estimates.append(spread(values))
    assert sum(estimates) / 60 == pytest.approx(0.01, rel=0.35)


def test_thousands_are_compared_in_a_moment():
    assert slow({**cluster(8000, 0.004, 1), "late": 0.94}).keys() == {"late"}
