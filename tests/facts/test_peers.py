"""Who differs from whom? Majorities, ties, and what is not known."""

from __future__ import annotations

import msgspec
import pytest

from diag.facts.node import Node, Reach
from diag.facts.peers import Alone, Peers
from diag.facts.record import Missing, NotMeasured
from diag.facts.snapshot import SCHEMA, Controller, Snapshot
from diag.facts.software import Software
from diag.facts.system import Clock


def cluster(*versions: str | Missing | None) -> Snapshot:
    return Snapshot(
        schema=SCHEMA, taken_at="", run_id="", level="normal", controller=Controller(hostname="c", python="", diag=""),
        nodes=tuple(
            Node(name=f"n{place}", address="", reach=Reach(outcome="answered"), software=Software(torch=version))
            for place, version in enumerate(versions)
        ),
    )  # fmt: skip


def torch(node: Node) -> str | None:
    return node.software.torch


def agreeing(*versions: str | Missing | None) -> list[bool]:
    asked = cluster(*versions)
    same = Peers(asked).by(torch)
    return [same.agree(node) for node in asked.nodes if isinstance(same.values.get(node.name), (str, type(None)))]


def test_all_alike_agree():
    assert agreeing("2.8", "2.8", "2.8") == [True, True, True]
    assert agreeing("2.8", "2.8") == [True, True]


def test_the_minority_disagrees():
    assert agreeing("2.8", "2.7", "2.8") == [True, False, True]


def test_none_is_a_value_like_others():
    assert agreeing("2.8", None, "2.8") == [True, False, True]


@pytest.mark.parametrize("versions", [("2.8", "2.7"), ("2.8", "2.7", "2.6"), ("2.8", "2.8", "2.7", "2.7")])
def test_without_a_majority_nobody_agrees(versions):
    assert not any(agreeing(*versions))


def test_more_than_half_of_those_who_know_it_are_the_majority():
    asked = cluster("2.8", Missing("?"), "2.7", "2.8")
    same = Peers(asked).by(torch)
    assert [same.agree(asked.nodes[place]) for place in (0, 2, 3)] == [True, False, True]
    with pytest.raises(NotMeasured, match=r"\?"):
        same.agree(asked.nodes[1])


def test_what_one_node_alone_knows_is_compared_with_nothing():
    asked = cluster("2.8", Missing("?"))
    with pytest.raises(NotMeasured, match="on this node only"):
        Peers(asked).by(torch).agree(asked.nodes[0])


def test_a_finding_says_what_most_have():
    asked = cluster("2.8", "2.7", "2.8")
    message = Peers(asked).by(torch).finding(asked.nodes[1], "torch")
    assert message == "found torch 2.7\nexpected 2.8, as on 2 of 3 nodes"


def test_a_tie_names_both_and_claims_no_majority():
    asked = cluster("2.8", None)
    message = Peers(asked).by(torch).finding(asked.nodes[0], "torch")
    assert message == "found torch differs: n0 has 2.8, n1 has none\nexpected the same on all nodes"


def test_many_values_are_counted_after_the_first():
    asked = cluster(*(f"2.{number}" for number in range(9)))
    message = Peers(asked).by(torch).finding(asked.nodes[0], "torch")
    assert "n3 has 2.3, and 5 more values" in message


def test_of_tuples_only_what_is_not_shared_is_said():
    asked = cluster("a,b", "a,c", "a,b")
    same = Peers(asked).by(lambda node: tuple(node.software.torch.split(",")))
    assert same.finding(asked.nodes[1], "set:") == "found set: c\nexpected b, as on 2 of 3 nodes"
    asked = cluster("a,b", "a", "a,b")
    same = Peers(asked).by(lambda node: tuple(node.software.torch.split(",")))
    assert same.finding(asked.nodes[1], "set:") == "found set: without b\nexpected b, as on 2 of 3 nodes"


def test_twins_are_the_others_with_the_same_value():
    asked = cluster("a", "b", "a")
    same = Peers(asked).by(torch)
    assert [same.twins(node) for node in asked.nodes] == [("n2",), (), ("n0",)]


def test_a_key_is_computed_once_even_if_it_is_a_new_lambda_each_time():
    peers = Peers(cluster("a", "b", "c"))
    first, second = (peers.by(lambda node: node.software.torch) for _ in range(2))
    assert first is second
    assert peers.by(torch) is not first


def test_a_key_that_depends_on_something_else_is_refused():
    wanted = "torch"
    with pytest.raises(TypeError, match="plain function"):
        Peers(cluster("a", "b")).by(lambda node: getattr(node.software, wanted))


def test_a_key_may_ask_for_the_cluster():
    asked = cluster("a", "b")
    same = Peers(asked).by(lambda node, whole: len(whole.nodes) if node.name else 0)
    assert same.agree(asked.nodes[0])


def test_the_median_is_over_those_who_know_it():
    asked = cluster("a", "b", "c")
    offsets = (1.0, 5.0, 2.0)
    nodes = tuple(
        msgspec.structs.replace(node, clock=Clock(offset_s=offset, uncertainty_s=0.1))
        for node, offset in zip(asked.nodes, offsets, strict=True)
    )
    known = msgspec.structs.replace(asked, nodes=nodes)
    assert Peers(known).median(lambda node: node.clock.offset_s) == 2.0
    with pytest.raises(NotMeasured, match="fewer than two"):
        Peers(asked).median(lambda node: node.clock.offset_s)


def test_one_node_is_alone():
    peers = Peers(cluster("a"))
    for compare in (
        lambda: peers.by(torch),
        lambda: peers.median(lambda node: node.clock.offset_s),
        lambda: peers.resolutions("n0"),
    ):
        with pytest.raises(Alone, match="one node"):
            compare()


def parts(node: Node) -> tuple[str, ...]:
    return tuple((node.software.torch or "").split())


@pytest.mark.parametrize(
    ("held", "lacking", "apart"),
    [
        (("a b", "a", "a b"), ("b",), ()),
        (("a", "a c", "a"), (), ("c",)),
        (("a b", "a", "b"), (), ()),
        (("a b", "a"), (), ()),
        (("a", "a b"), (), ()),
        (("a", "c"), (), ("c",)),
    ],
)
def test_what_the_second_node_lacks_and_what_only_it_has(held, lacking, apart):
    asked = cluster(*held)
    same = Peers(asked).by(parts)
    assert (same.lacking(asked.nodes[1]), same.apart(asked.nodes[1])) == (lacking, apart)
