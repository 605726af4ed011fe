"""What would NCCL choose by itself, how do other vendors' libraries spell it, and who is in a group with whom?"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from diag.facts.links import TCP, Flow
from diag.facts.node import Node
from diag.facts.rdma import Gid, RdmaPort
from diag.planner.network import gids
from diag.planner.network.environment import environment
from diag.planner.network.groups import grouped
from diag.planner.network.rates import Rates, rates
from diag.planner.network.sockets import by_nccl
from tests.planner.networks import (
    RAIL_RATE,
    TCP_RATE,
    cluster,
    failed,
    flows,
    gid,
    gid_table,
    infiniband,
    interface,
    interfaces,
    links,
    node,
    pair,
    rails,
    roce,
    set_on,
)

# -- interfaces


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("lo", "eth0", "docker0"), ("eth0",)),
        (("lo", "eth0", "ib0", "ib1"), ("ib0", "ib1")),
        (("lo", "eth0", "eth1", "virbr0"), ("eth0", "eth1")),
        (("lo", "docker0", "virbr0"), ("docker0",)),
        (("lo", "virbr0"), ("lo",)),
        (("lo", "br-1a2b", "cni0"), ("br-1a2b", "cni0")),
    ],
)
def test_nccl_takes_ib_then_all_others_then_docker(names, taken):
    found = node(1, own=tuple(interface(name, f"10.{at}.0.1/24") for at, name in enumerate(names)))
    assert by_nccl(found) == taken


def test_nccl_takes_no_interface_that_is_down_or_without_an_address():
    own = (interface("eth0", "10.0.0.1/24"), interface("eth1", "10.1.0.1/24", state="down"), interface("eth2"))
    assert by_nccl(node(1, own=own)) == ("eth0",)


# -- GIDs


def port_of(*table: Gid) -> RdmaPort:
    return roce("mlx5_0", *table).ports[0]


def test_nccl_chooses_the_first_address_as_roce_v2():
    assert gids.chosen(port_of(*gid_table("10.5.0.1"))).index == 3
    assert gids.chosen(port_of(*gid_table("10.5.0.1", "10.6.0.1"))).index == 3
    assert (
        gids.chosen(port_of(*gid_table("10.5.0.1", "10.6.0.1")), gids.Wish(network=gids.Network("10.6.0.0/24"))).index
        == 5
    )


def test_nccl_without_an_address_stays_at_index_0():
    assert gids.chosen(port_of(*gid_table())).index == 0
    assert not gids.usable(port_of(*gid_table()))


def test_nccl_takes_v1_where_an_address_has_no_v2():
    assert gids.chosen(port_of(gid(0, "roce_v1"), gid(2, "roce_v1", "10.5.0.1"))).index == 2


# -- vendors


def bridged(number: int, **facts: Any) -> Node:
    bridge = interface("br-1a2b", "172.18.0.1/16", kind="bridge", virtual_bridge=True)
    return node(number, own=interfaces(number, bridge), **facts)


def spelled(vendor: str) -> dict[str, str | None]:
    out = *rails("mlx5_0", "mlx5_1"), roce("mlx5_9")
    nodes = tuple(bridged(number, hcas=out) for number in (1, 2))
    return {one.name: one.common for one in environment(nodes, cluster(*nodes), vendor).variables}


def test_each_vendors_library_gets_its_own_names():
    nccl = {"NCCL_SOCKET_IFNAME": "=bond0", "NCCL_IB_HCA": "^=mlx5_9"}
    assert spelled("nvidia") == spelled("amd") == spelled("hygon") == nccl
    assert spelled("metax") == {"MCCL_SOCKET_IFNAME": "bond0", "MCCL_IB_HCA": "mlx5_0,mlx5_1"}
    assert spelled("iluvatar") == {}


def test_hccl_takes_the_first_by_name_so_only_what_stands_before_is_a_reason():
    assert spelled("ascend") == {}
    nodes = tuple(node(each, own=interfaces(each, interface("a0", f"10.8.0.{each}/24"))) for each in (1, 2))
    (variable,) = environment(nodes, cluster(*nodes), "ascend").variables
    assert (variable.name, variable.common) == ("HCCL_SOCKET_IFNAME", "=bond0")


def test_a_vendor_of_whom_nothing_was_read_is_said_to_be_one():
    nodes = (node(1), node(2))
    assert "iluvatar are not known" in environment(nodes, cluster(*nodes), "iluvatar").notes[0]


def test_hcas_of_other_names_on_another_node_are_named_there():
    nodes = node(1, hcas=(infiniband("mlx5_0"), roce("mlx5_9"))), node(2, hcas=(infiniband("ibp1"), roce("ibp9")))
    (variable,) = environment(nodes, cluster(*nodes), "nvidia").variables
    assert dict(variable.values) == {"gpu01": "=mlx5_0", "gpu02": "=ibp1"}


@pytest.mark.parametrize("value", ["mlx5_9", "nosuch", "=mlx5_7", "^mlx5"])
def test_a_set_list_of_hcas_that_takes_none_is_replaced(value):
    nodes = node(1, hcas=rails()), node(2, hcas=rails(), settings=set_on("NCCL_IB_HCA", value))
    (variable,) = environment(nodes, cluster(*nodes), "nvidia").variables
    assert dict(variable.values) == {"gpu02": "=mlx5_0,mlx5_1,mlx5_2,mlx5_3"}
    assert variable.why == f"NCCL_IB_HCA={value} is set on gpu02 and takes none of its ports that carry data"


def test_a_set_list_of_fewer_hcas_is_left_and_said():
    nodes = tuple(node(number, hcas=rails(), settings=set_on("NCCL_IB_HCA", "=mlx5_0,mlx5_1")) for number in (1, 2))
    found = environment(nodes, cluster(*nodes), "nvidia")
    note = "NCCL_IB_HCA==mlx5_0,mlx5_1 is set and leaves out mlx5_2, mlx5_3, which would do as well"
    assert (found.variables, found.notes) == ((), (f"gpu[01-02]: {note}",))


def test_rdma_that_somebody_switched_off_is_said():
    nodes = node(1, hcas=rails()), node(2, hcas=rails(), settings=set_on("NCCL_IB_DISABLE", "1"))
    (note,) = environment(nodes, cluster(*nodes), "nvidia").notes
    assert note.startswith("gpu02: NCCL_IB_DISABLE=1 is set: 4 RDMA ports are not used")


def test_a_prefix_that_also_takes_what_is_left_out_is_said_where_no_exact_sign_is_known():
    nodes = tuple(bridged(number, hcas=(infiniband("mlx5_1"), roce("mlx5_10"))) for number in (1, 2))
    found = environment(nodes, cluster(*nodes), "metax")
    assert {one.name: one.common for one in found.variables}["MCCL_IB_HCA"] == "mlx5_1"
    (note,) = found.notes
    assert note.startswith("gpu[01-02]: MCCL_IB_HCA=mlx5_1 also takes mlx5_10 if names are prefixes")


def test_no_port_is_left_out_where_none_would_stay():
    nodes = node(1, hcas=(infiniband("mlx5_0"),)), node(2, hcas=(roce("mlx5_0"),))
    assert environment(nodes, cluster(*nodes), "nvidia").variables == ()


# -- groups

NAMES = tuple(f"gpu0{number}" for number in range(1, 8))


def between(most: int, *found: tuple[Flow, ...], **slow: Any) -> Rates | None:
    names = NAMES[:most]
    snapshot = cluster(*(node(n) for n in range(1, most + 1)), links=links(*found, flows(names, TCP_RATE, **slow)))
    return rates(snapshot, names)


def test_without_a_slow_link_groups_follow_the_names():
    found = grouped(NAMES[:5], 2, between(5))
    assert (found.groups, found.idle) == ((("gpu01", "gpu02"), ("gpu03", "gpu04")), ("gpu05",))


def test_the_slow_node_stays_idle_if_anybody_must():
    assert grouped(NAMES[:5], 2, between(5, slow={"gpu02": 1e8})).idle == ("gpu02",)


def test_several_slow_links_are_all_gone_around():
    slow = {pair(1, 2): 1e8, pair(3, 4): 1e8, pair(1, 3): 1e8}
    found = grouped(NAMES[:4], 2, between(4, slow=slow))
    assert not set(found.pairs(neighbours=False)) & slow.keys()


def test_only_groups_beside_a_slow_link_are_mended():
    names = tuple(f"n{number}" for number in range(8))
    ring = links(*(flows(names[at : at + 2], 1e8 if at == 2 else 1e9) for at in range(7)))
    found = grouped(names, 2, rates(cluster(*(node(n) for n in range(8)), links=ring), names))
    assert found.groups[0] == ("n0", "n1")
    assert found.groups[3] == ("n6", "n7")
    assert {frozenset(group) for group in found.groups[1:3]} == {frozenset(("n2", "n5")), frozenset(("n3", "n4"))}


def test_a_slow_link_between_two_groups_changes_nothing():
    assert grouped(NAMES[:4], 2, between(4, slow={pair(2, 3): 1e8})).groups == (NAMES[:2], NAMES[2:4])


def test_no_grouping_ever_loses_or_doubles_a_node():
    for most in range(2, 8):
        for low in combinations(NAMES[:most], 2):
            for size in range(1, most + 1):
                found = grouped(NAMES[:most], size, between(most, slow={frozenset(low): 1e8, NAMES[0]: 2e8}))
                assert sorted([*found.idle, *(name for group in found.groups for name in group)]) == list(NAMES[:most])
                assert {len(group) for group in found.groups} == {size}


def test_a_link_whose_cause_of_failure_is_known_carries_nothing():
    gone = (failed("gpu01", "gpu02", "no answer", "firewall_blocks_ports", method=TCP, rail="eth0"),)
    found = cluster(
        node(1), node(2), node(3), links=links(gone, flows(("gpu01", "gpu03"), 1e9), flows(("gpu02", "gpu03"), 1e9))
    )
    assert rates(found, ("gpu01", "gpu02", "gpu03")).slow == {pair(1, 2)}


def test_rdma_that_did_not_come_through_on_a_node_leaves_tcp():
    names = ("gpu01", "gpu02", "gpu03")
    over_rdma = flows(names[:2], 46e9, "ib_write_bw", "mlx5_0")
    found = cluster(node(1), node(2), node(3), links=links(over_rdma, flows(names, TCP_RATE)))
    assert rates(found, names).method == TCP
    assert rates(found, names[:2]).method == "ib_write_bw"


def ring_of_four(*slow: tuple[str, str], share: float = 0.1) -> str:
    """Why NCCL_IB_HCA is set where mlx5_3 carries a share between some neighbours; empty: it is not."""
    names = tuple(f"gpu{number:02}" for number in range(1, 5))
    ring = list(zip(names, (*names[1:], names[0]), strict=True))
    measured = [
        each
        for rail in ("mlx5_0", "mlx5_1", "mlx5_2", "mlx5_3")
        for pair in ring
        for each in flows(pair, RAIL_RATE * (share if rail == "mlx5_3" and pair in slow else 1), "ib_write_bw", rail)
    ]
    nodes = tuple(node(number, hcas=rails()) for number in range(1, 5))
    found = environment(nodes, cluster(*nodes, links=links(tuple(measured))), "nvidia").variables
    return next((variable.why for variable in found if variable.name == "NCCL_IB_HCA"), "")


def test_a_slow_rail_is_told_of_the_node_that_has_it_and_not_of_its_neighbours():
    why = ring_of_four(("gpu01", "gpu02"), ("gpu02", "gpu03"))
    assert why == ("mlx5_3 carried 36.8 Gbit/s on gpu02, its other ports 368.0 Gbit/s (left out on gpu[01-04])")


def test_a_rail_that_is_slow_between_two_is_told_of_both():
    why = ring_of_four(("gpu02", "gpu03"))
    assert why.startswith("mlx5_3 carried 36.8 Gbit/s between gpu02 and gpu03, its other ports 368.0 Gbit/s")


def test_one_pair_that_is_a_little_slower_leaves_no_rail_out():
    assert ring_of_four(("gpu02", "gpu03"), share=0.7) == ""


THREE = ("gpu01", "gpu02", "gpu03")


def test_links_to_a_node_that_is_not_in_the_launch_leave_no_rail_out():
    slow = {"gpu03": 0.1 * RAIL_RATE}
    measured = [flows(THREE, RAIL_RATE, "ib_write_bw", rail) for rail in ("mlx5_0", "mlx5_1")]
    measured += [flows(THREE, RAIL_RATE, "ib_write_bw", "mlx5_2", slow)]
    measured += [(failed("gpu01", "gpu03", "no completion", "ib_link_flapping", rail="mlx5_3"),)]
    nodes = tuple(node(number, hcas=rails()) for number in (1, 2, 3))
    found = cluster(*nodes, links=links(*measured))

    def left_out(of: tuple[Node, ...]) -> list[str]:
        return [one.values[0][1] for one in environment(of, found, "nvidia").variables if one.name == "NCCL_IB_HCA"]

    assert left_out(nodes) == ["=mlx5_0,mlx5_1"]
    assert left_out(nodes[:2]) == []
