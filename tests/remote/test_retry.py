"""Who is left out of the second all-reduce, and when is there none? From records as a first one leaves them."""

from __future__ import annotations

from typing import Any

import pytest

from diag.facts.collective import Collective, Rank
from diag.remote.retry import at_fault, why_not


def ended(*outcomes: str, finished: bool = False, **fields: Any) -> Collective:
    """A rank on each node: ``n0``, ``n1``, …"""
    ranks = tuple(
        Rank(rank=number, node=f"n{number}", local_rank=0, outcome=outcome) for number, outcome in enumerate(outcomes)
    )
    return Collective(
        backend="gloo", nodes=tuple(rank.node for rank in ranks), world_size=len(ranks), finished=finished,
        seconds=1.0, ranks=ranks, summary="not finished after 90 s", **fields,
    )  # fmt: skip


def wrong(*places: int, nodes: int = 4) -> Collective:
    ranks = tuple(
        Rank(rank=number, node=f"n{number}", local_rank=0, wrong_bytes=(8192,) if number in places else ())
        for number in range(nodes)
    )
    names = tuple(rank.node for rank in ranks)
    return Collective(backend="gloo", nodes=names, world_size=nodes, finished=True, seconds=1.0, ranks=ranks)


@pytest.mark.parametrize("outcome", ["rank_frozen", "rank_missing", "rank_died", "agent_silent", "version_differs"])
def test_a_node_whose_rank_did_not_come_through_by_itself_is_left_out(outcome):
    found = at_fault(ended("stopped", outcome, "stopped"))
    assert found == {"n1": f"at fault before: rank 1 {outcome.removeprefix('rank_').replace('_', ' ')}"}


def test_where_all_came_through_there_is_no_need():
    healthy = ended("done", "done", "done", finished=True)
    assert at_fault(healthy) == {}
    assert why_not(healthy) is None


def test_where_nobody_is_named_nobody_is_left_out():
    hung = ended("stopped", "stopped", "stopped")
    assert at_fault(hung) == {}
    assert why_not(hung) == "nobody to leave out: not finished after 90 s"


def test_sums_that_are_wrong_on_one_node_only_name_it():
    assert at_fault(wrong(2)) == {"n2": "its sums were wrong at 8.0 KiB"}


@pytest.mark.parametrize("places", [(0, 1), (0, 1, 2, 3)])
def test_sums_that_are_wrong_on_half_of_the_nodes_name_nobody(places):
    assert at_fault(wrong(*places)) == {}
    assert why_not(wrong(*places)) == "sums were wrong on too many nodes to leave out any"
