"""Does what was measured on each tier give its latency and its rate, and nothing where it does not suffice?"""

from __future__ import annotations

import msgspec
import pytest

from diag.facts.collective import Collective, Step
from diag.facts.record import unknown
from diag.facts.snapshot import Snapshot
from diag.facts.tiers import BETWEEN, INSIDE, tier_fits
from tests.checks.healthy import gpu_cluster
from tests.report import samples

SIZES = (8 << 10, 64 << 10, 512 << 10, 4 << 20, 64 << 20, 1 << 30)


def step(size_bytes: int, time_s: float, *, verified: bool = True) -> Step:
    return Step(
        size_bytes=size_bytes, times_s=(time_s, time_s * 1.5, time_s), algbw_bytes_per_s=size_bytes / time_s,
        busbw_bytes_per_s=size_bytes / time_s, verified=verified,
    )  # fmt: skip


def cluster(*steps: Step, nodes: int = 4) -> Snapshot:
    names = tuple(f"gpu{number:02}" for number in range(nodes))
    measured = Collective(backend="nccl", nodes=names, world_size=8 * nodes, finished=True, seconds=9.0, steps=steps)
    return msgspec.structs.replace(samples.snapshot(), collective=measured)


def test_latency_and_rate_between_nodes_come_out_of_the_steps():
    (tier,) = tier_fits(cluster(*(step(size, 21e-6 + size / 11.2e9) for size in SIZES)))
    assert (tier.name, tier.backend, tier.ranks, tier.sizes) == (BETWEEN, "nccl", 32, 6)
    assert tier.cost.latency_s == pytest.approx(21e-6, rel=0.01)
    assert tier.cost.bytes_per_s == pytest.approx(11.2e9, rel=0.01)
    assert tier.error < 0.01


def test_the_nodes_own_collectives_are_a_tier_of_their_own():
    fits = {tier.name: tier for tier in tier_fits(gpu_cluster())}
    assert fits[INSIDE].ranks == 8
    assert fits[INSIDE].cost.bytes_per_s > 0


@pytest.mark.parametrize(
    "steps",
    [
        (),
        tuple(step(size, 1e-5 + size / 1e9) for size in SIZES[:2]),
        tuple(step(size, 1e-5 + size / 1e9, verified=size < 70_000) for size in SIZES),
        tuple(step(size, 1e-3 * (6 - place)) for place, size in enumerate(SIZES)),
    ],
    ids=["none", "two sizes", "wrong sums", "larger ones take no longer"],
)
def test_without_three_sizes_that_were_right_and_grow_there_is_no_fit(steps):
    assert tier_fits(cluster(*steps)) == ()


def test_one_node_crosses_no_link():
    assert tier_fits(cluster(*(step(size, 1e-5 + size / 1e9) for size in SIZES), nodes=1)) == ()


def test_what_was_not_measured_has_no_fit():
    assert tier_fits(msgspec.structs.replace(samples.snapshot(), collective=unknown("no torch"))) == ()
