"""Which rails of a pair are tried, and what stands in the way of the others? Nothing is run here."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diag.facts.links import Flow
from diag.facts.node import Node
from diag.facts.record import Missing, peek, unknown
from diag.remote.perftest import Pairs, measure
from diag.remote.session import Session
from tests.remote.test_perftest import HERE, WRITE, node


def flows_without_agents(a: Node, b: Node, deadline_s: float = 60, **wanted: Any) -> tuple[Flow, ...]:
    pairs = Pairs(pairs=(("a", "b"),), number=1, **{"addresses": {"a": HERE, "b": HERE}, **wanted})
    no_sessions: dict[str, Session] = {}
    return measure(pairs, WRITE, no_sessions, {"a": a, "b": b}, deadline_s)


def test_a_node_without_perftest_is_said_to_be_without():
    flows = flows_without_agents(node("a"), node("b", perftest=None))
    assert [peek(flow, "bytes_per_s").why for flow in flows] == [
        "perftest is not installed on b (package perftest)"
    ] * 2


def test_where_no_time_is_left_that_is_said():
    for flow in flows_without_agents(node("a"), node("b"), -20):
        assert (flow.rail, peek(flow, "bytes_per_s").why) == ("rxe0", "no time was left for it")


def test_what_devices_share_need_not_be_known_to_say_what_stands_in_the_way():
    dark = msgspec.structs.replace(node("b", state="down"), rdma_system=unknown("no answer within 8 s"))
    assert peek(flows_without_agents(node("a"), dark)[0], "bytes_per_s").why == "rxe0 of b is down"


@pytest.mark.parametrize("system", [{}, {"perftest_ipv6": True}])
def test_over_ipv6_an_old_perftest_is_not_tried_and_a_newer_one_is(system: dict[str, Any]):
    addresses = {"a": "fd00::1", "b": "fd00::2"}
    flows = flows_without_agents(node("a", perftest_ipv6=True), node("b", **system), -1, addresses=addresses)
    words = "no time was left" if system else "perftest on b finds its other end over IPv4 only"
    assert flows
    assert all(words in peek(flow, "bytes_per_s").why for flow in flows)


def test_a_rail_that_is_down_on_one_side_is_not_tried_and_one_down_on_both_is_none():
    flow, _ = flows_without_agents(node("a"), node("b", state="down"))
    assert (flow.cause, peek(flow, "bytes_per_s").why) == ("rdma_bad_hca_selected", "rxe0 of b is down")
    assert flow.at == "b"
    assert flows_without_agents(node("a", state="down"), node("b", state="down")) == ()


@pytest.mark.parametrize("spared", ["a", "b"])
def test_a_rail_that_is_down_is_so_also_where_one_end_is_left_alone(spared: str):
    """A port that is down counts no bytes; who is to be asked whether others use it?"""
    whys = {spared: {"rxe0": "whether others use rxe0 is not known: it counts no bytes"}}
    flow = flows_without_agents(node("a"), node("b", state="down"), spared=whys)[0]
    assert (flow.cause, flow.at) == ("rdma_bad_hca_selected", "b")


def test_only_the_same_rail_of_both_is_tried():
    flows = flows_without_agents(
        node("a", hcas=("mlx5_0", "mlx5_1"), perftest=None), node("b", hcas=("mlx5_1", "mlx5_2"))
    )
    assert {flow.rail for flow in flows} == {"mlx5_1"}


def test_hcas_that_share_no_name_go_by_their_order():
    flows = flows_without_agents(node("a", hcas=("mlx5_0",), perftest=None), node("b", hcas=("rocep1s0",)))
    assert {flow.rail for flow in flows} == {"mlx5_0"}


def test_named_rails_are_the_only_ones():
    both = ("mlx5_0", "mlx5_1")
    flows = flows_without_agents(node("a", hcas=both, perftest=None), node("b", hcas=both), only={"mlx5_1"})
    assert {flow.rail for flow in flows} == {"mlx5_1"}


def test_a_pair_without_rdma_has_no_flow_and_one_whose_devices_are_not_known_says_so():
    assert flows_without_agents(node("a", hcas=()), node("b", hcas=())) == ()
    dark = msgspec.structs.replace(node("b"), hcas=unknown("no answer within 8 s"))
    assert peek(flows_without_agents(node("a"), dark)[0], "bytes_per_s") == Missing("no answer within 8 s")
