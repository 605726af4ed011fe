"""Does each suspect meet one who is proven good, and does it end?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.localise import (
    confirm_repeats,
    next_round,
    per_rail_round,
    ring_repeats,
    ring_rounds,
    settled,
    spread_of,
    suspects,
)
from tests.localise.simulated import Fault, Network, localised, named, names

CHECKED = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def ring(network: Network):
    return [flow for pairs in ring_rounds(network.nodes) for flow in network.measured(pairs)]


def slow(*places: int) -> list[Fault]:
    return [Fault(kind="node", nodes=(f"n{place:04}",), share=0.5) for place in places]


def test_where_nothing_is_open_nothing_follows():
    assert next_round(names(16), ring(Network(nodes=names(16)))) == ()
    assert next_round(names(16), ring(Network(nodes=names(16), noise=0.005))) == ()


def test_a_slow_node_meets_one_that_is_proven_good():
    pairs = next_round(names(16), ring(Network(nodes=names(16), faults=slow(5))))
    (met,) = [set(pair) - {"n0005"} for pair in pairs if "n0005" in pair]
    assert not met & {"n0004", "n0006"}


def test_neighbours_meet_different_good_ones():
    pairs = next_round(names(16), ring(Network(nodes=names(16), faults=slow(5, 6))))
    met = [next(iter(set(pair) - {"n0005", "n0006"})) for pair in pairs if {"n0005", "n0006"} & set(pair)]
    assert len(set(met)) == 2
    assert not set(met) & {"n0004", "n0007"}


def test_a_slow_link_between_good_nodes_is_measured_once_more():
    fault = Fault(kind="link", nodes=("n0005", "n0006"), share=0.5)
    assert ("n0005", "n0006") in next_round(names(16), ring(Network(nodes=names(16), faults=[fault])))


def test_where_there_are_few_proven_good_ones_their_neighbours_serve_too():
    network = Network(nodes=names(9), faults=slow(1, 2, 3, 4))
    flows = ring(network)
    pairs = next_round(names(9), flows)
    assert all(any(node in pair for pair in pairs) for node in names(9)[1:5])
    assert next_round(names(9), [*flows, *network.measured(pairs)]) == ()


@CHECKED
@given(st.integers(2, 40), st.integers(0, 999), st.integers(0, 4), st.sampled_from([0.0, 0.05, 0.2]))
def test_pairs_are_disjoint_and_the_rounds_end(count, seed, faults, noise):
    nodes = names(count)
    network = Network(nodes=nodes, faults=slow(*range(min(faults, count))), noise=noise, seed=seed)
    flows = ring(network)
    for _ in range(count + 2):
        pairs = next_round(nodes, flows)
        ends = [node for pair in pairs for node in pair]
        assert len(ends) == len(set(ends))
        assert set(ends) <= set(nodes)
        if not pairs:
            return
        flows += network.measured(pairs)
    raise AssertionError("it goes on for ever")


def test_more_noise_takes_longer_within_a_third_and_a_tenth_of_a_sweep_as_long():
    quiet, loud = (spread_of(names(16), ring(Network(nodes=names(16), noise=noise))) for noise in (0.01, 0.1))
    assert (ring_repeats(quiet), confirm_repeats(quiet)) == (1, 3)
    assert (ring_repeats(loud), confirm_repeats(loud)) == (3, 3)
    for count, part in ((16, 3), (64, 10)):
        for spread in (0.01, 0.03, 0.1):
            sweep = (count - 1) * ring_repeats(spread)
            assert 2 * ring_repeats(spread) + confirm_repeats(spread) <= sweep / part


@pytest.mark.parametrize(("share", "noise", "enough"), [(0.5, 0.005, True), (0.93, 0.02, False)])
def test_what_is_certain_is_not_measured_again(share, noise, enough):
    """Of a node at 0.93 one round says too little: doubted, and not named without a doubt."""
    network = Network(nodes=names(16), faults=[Fault(kind="node", nodes=("n0005",), share=share)], noise=noise, seed=3)
    assert settled(names(16), ring(network)) is enough


def test_a_healthy_ring_is_settled():
    assert settled(names(16), ring(Network(nodes=names(16), noise=0.005)))


def test_after_all_rails_together_a_confirmed_node_is_measured_rail_by_rail():
    whole = Network(nodes=names(16), faults=slow(5), noise=0.02)
    found, flows = localised(whole)
    pairs = per_rail_round([each.nodes[0] for each in found], names(16), flows)
    assert [pair[0] for pair in pairs] == ["n0005"]
    fault = Fault(kind="nic", nodes=("n0005",), share=0.5, rail="mlx5_2")
    rails = Network(nodes=names(16), faults=[fault], noise=0.02, rails=[f"mlx5_{number}" for number in range(8)])
    assert named(suspects(names(16), [*flows, *rails.measured(pairs)])) == {("nic", ("n0005",), "mlx5_2", "")}
