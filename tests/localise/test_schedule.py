"""Is every pair measured once, and no node twice at a time?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.facts.links import Flow
from diag.facts.record import unknown
from diag.localise import all_rounds, limited, ring_rounds, sample_rounds, unmeasured
from tests.localise.simulated import Network, names

CHECKED = settings(max_examples=80, deadline=None, derandomize=True, database=None)
COUNTS = st.integers(0, 70)


def disjoint(rounds) -> bool:
    return all(len({node for pair in each for node in pair}) == 2 * len(each) for each in rounds)


def pairs(rounds) -> list[frozenset[str]]:
    return [frozenset(pair) for each in rounds for pair in each]


@CHECKED
@given(st.integers(3, 90))
def test_two_rounds_cover_the_ring_and_three_an_odd_one(count):
    nodes, rounds = names(count), ring_rounds(names(count))
    assert len(rounds) == 2 + count % 2
    assert disjoint(rounds)
    edges = {frozenset((node, nodes[(place + 1) % count])) for place, node in enumerate(nodes)}
    assert set(pairs(rounds)) == edges
    assert len(pairs(rounds)) == len(edges)


def test_two_nodes_have_one_edge_and_one_has_none():
    assert ring_rounds(["a", "b"]) == ((("a", "b"),),)
    assert ring_rounds(["a"]) == ()
    assert ring_rounds([]) == ()


@CHECKED
@given(COUNTS)
def test_all_pairs_meet_once_in_as_few_rounds_as_there_can_be(count):
    rounds = all_rounds(names(count))
    assert disjoint(rounds)
    assert len(pairs(rounds)) == len(set(pairs(rounds))) == count * (count - 1) // 2
    assert len(rounds) == (0 if count < 2 else count - 1 + count % 2)


@CHECKED
@given(COUNTS, st.integers(1, 9))
def test_pairs_within_a_leaf_come_before_those_across(count, leaf):
    nodes = names(count)
    groups = {node: str(place // leaf) for place, node in enumerate(nodes)}
    rounds = all_rounds(nodes, groups)
    assert disjoint(rounds)
    assert len(pairs(rounds)) == len(set(pairs(rounds))) == count * (count - 1) // 2
    within = [all(groups[one] == groups[other] for one, other in each) for each in rounds]
    across = [all(groups[one] != groups[other] for one, other in each) for each in rounds]
    assert all(one or other for one, other in zip(within, across, strict=True))
    assert within == sorted(within, reverse=True)


def test_equal_leaves_cost_no_round_more():
    nodes = names(32)
    assert len(all_rounds(nodes, {node: str(place // 8) for place, node in enumerate(nodes)})) == 31


@CHECKED
@given(COUNTS, st.integers(0, 500), st.integers(0, 5))
def test_a_sample_has_as_many_pairs_as_asked_for_and_is_the_same_each_time(count, asked, seed):
    rounds = sample_rounds(names(count), asked, seed)
    assert disjoint(rounds)
    assert len(set(pairs(rounds))) == len(pairs(rounds)) == min(asked, count * (count - 1) // 2)
    assert rounds == sample_rounds(names(count), asked, seed)


@pytest.mark.parametrize(("most", "rounds", "left_out"), [(0, 0, 6), (3, 2, 3), (6, 3, 0), (99, 3, 0)])
def test_what_a_limit_leaves_out_is_counted(most, rounds, left_out):
    kept, missing = limited(all_rounds(names(4)), most)
    assert (len(kept), missing) == (rounds, left_out)


def test_a_pair_that_failed_is_known_and_one_that_was_not_tried_is_not():
    network = Network(nodes=names(4))
    flows = network.measured([("n0000", "n0001")])
    flows += [
        Flow(source="n0001", target="n0002", round=2, cause="firewall_blocks_ports", bytes_per_s=unknown("refused")),
        Flow(source="n0002", target="n0003", round=2, bytes_per_s=unknown("no time left")),
    ]
    assert unmeasured(names(4), flows) == 4
