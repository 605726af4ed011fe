"""Is a link that is cut or closed told of the end that has it, and of neither where nobody knows?"""

from __future__ import annotations

import pytest

from diag.facts.record import Missing
from tests.checks.changes import both, having, item, named, of_cluster, on, without
from tests.checks.healthy import gpu_cluster
from tests.checks.pairs.collective import cut_off
from tests.checks.pairs.links import by_rdma, closed
from tests.test_culprits import found, who


def test_of_two_nodes_that_cannot_meet_the_link_is_named_with_both_ends():
    nobody = of_cluster(links=Missing("--pairs none"), collective=having(nodes=(), ranks=(), finished=False, steps=()))
    (culprit,) = found(both(cut_off("gpu02"), nobody), gpu_cluster(2))
    assert (culprit.kind, culprit.nodes, culprit.cause) == ("link", ("gpu01", "gpu02"), "mtu_mismatch")


@pytest.mark.parametrize("count", [2, 3, 4, 16])
def test_ports_closed_in_one_direction_are_of_the_link(count):
    (culprit,) = found(closed(("gpu01",), ("gpu02",), 29500, 8000), gpu_cluster(count))
    assert (culprit.kind, culprit.nodes) == ("link", ("gpu01", "gpu02"))
    assert culprit.summary == "gpu01 > gpu02: ports 29500, 8000 closed: no answer (ETIMEDOUT)"
    assert culprit.confidence < 0.9


def test_whose_ports_are_closed_to_most_is_named_alone_beside_a_link_of_others():
    change = both(closed(("gpu01", "gpu03", "gpu04", "gpu05"), ("gpu02",), 8000), closed(("gpu03",), ("gpu05",), 8000))
    assert [(culprit.kind, culprit.nodes) for culprit in found(change, gpu_cluster(5))] == [
        ("node", ("gpu02",)),
        ("link", ("gpu03", "gpu05")),
    ]


@pytest.mark.parametrize("split", [2, 3, 4])
def test_a_border_between_two_groups_names_no_node(split):
    names = tuple(f"gpu{number:02}" for number in range(1, 9))
    (culprit,) = found(closed(names[:split], names[split:], 8000), gpu_cluster(8))
    assert (culprit.kind, {*culprit.nodes}) == ("link", {*names})


def test_who_was_left_alone_after_the_knocking_counts_among_those_that_are_reached():
    """Of 8 nodes gpu01 is cut off from 3; that others use the interfaces of 3 nodes was seen afterwards."""
    left_alone = of_cluster(links=having(nodes=lambda names: names[:5]))
    (culprit,) = found(both(closed(("gpu01",), ("gpu02", "gpu03", "gpu04"), 8000), left_alone), gpu_cluster(8))
    assert (culprit.kind, culprit.nodes) == ("link", ("gpu01", "gpu02", "gpu03", "gpu04"))


def test_who_has_closed_ports_and_was_left_alone_afterwards_is_named():
    others = ("gpu01", "gpu03", "gpu04", "gpu05")
    left_alone = of_cluster(links=having(nodes=without(lambda name: name == "gpu02")))
    (culprit,) = found(both(closed(others, ("gpu02",), 8000), left_alone), gpu_cluster(5))
    assert (culprit.kind, culprit.nodes, culprit.evidence) == (
        "node", ("gpu02",), ("ports_are_open_between_nodes@gpu02",)
    )  # fmt: skip


def test_a_closed_link_is_named_also_where_one_end_was_lost_afterwards():
    gone = on("gpu02", reach=having(outcome="agent_silent", summary="no answer"), agent=Missing("no answer"))
    culprits = found(both(closed(("gpu01",), ("gpu02",), 8000), gone), gpu_cluster(4))
    (link,) = [culprit for culprit in culprits if culprit.kind == "link"]
    assert (link.nodes, link.evidence) == (("gpu01", "gpu02"), ("ports_are_open_between_nodes@gpu01",))


def test_two_nodes_behind_firewalls_are_named_and_their_partners_are_not():
    names = tuple(f"gpu{number:02}" for number in range(1, 9))
    rows = [closed(tuple(n for n in names if n != target), (target,), 8000) for target in ("gpu02", "gpu05")]
    (culprit,) = found(both(*rows), gpu_cluster(8))
    assert (culprit.kind, culprit.nodes) == ("node", ("gpu02", "gpu05"))


def test_of_two_nodes_the_one_whose_port_is_down_is_named():
    down = having(bytes_per_s=Missing("mlx5_0 of gpu02 is down"), cause="rdma_bad_hca_selected", at="gpu02")
    flows = of_cluster(links=having(flows=item(lambda flow: flow.rail is not None, down)))
    (culprit,) = found(flows, by_rdma(gpu_cluster(2)))
    assert (culprit.kind, culprit.nodes, culprit.cause) == ("nic", ("gpu02",), "rdma_bad_hca_selected")
    assert culprit.evidence == ("rails_carry_data@gpu01>gpu02", "rails_carry_data@gpu02>gpu01")


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_of_any_number_of_nodes_two_with_one_address_are_found(count):
    twice = item(named("bond0"), having(addresses=lambda held: (*held, "10.55.0.9/24")))
    change = both(on("gpu01", interfaces=twice), on("gpu02", interfaces=twice))
    assert who(found(change, gpu_cluster(count))) == {"duplicate_address": ("gpu01", "gpu02")}


@pytest.mark.parametrize("count", [3, 4, 8])
def test_an_address_that_all_hold_alike_is_a_convention(count):
    assert found(on("*", interfaces=item(named("eno1"), having(addresses=("10.55.0.9/24",)))), gpu_cluster(count)) == ()
