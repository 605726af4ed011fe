"""Which interface carries data between the nodes, and why that one?"""

from __future__ import annotations

import pytest

from diag.data_interface import Choice, choose
from diag.facts.network import Interface, Route
from diag.facts.node import Node, Reach
from diag.facts.record import Missing

GBIT = 10**9
DOCKER0 = Interface(
    name="docker0", kind="bridge", state="up", mtu_bytes=1500, addresses=("172.17.0.1/16",), virtual_bridge=True
)
LO = Interface(name="lo", kind="loopback", state="unknown", mtu_bytes=65536, addresses=("127.0.0.1/8", "::1/128"))


def an_interface(name: str, *addresses: str, kind: str = "physical", gbit: int | None = 10, state: str = "up"):
    speed = None if gbit is None else gbit * GBIT
    return Interface(name=name, kind=kind, state=state, mtu_bytes=1500, addresses=addresses, speed_bits_per_s=speed)


def a_node(number: int, *interfaces: Interface, address: str | None = None, **fields: object) -> Node:
    return Node(
        name=f"gpu{number:02}",
        address=address or f"10.0.0.{number}",
        reach=Reach(outcome="answered"),
        interfaces=(LO, *interfaces),
        **fields,
    )


def names(choice: Choice) -> list[str]:
    return [place.interface for place in choice.places]


def addresses(choice: Choice) -> list[str]:
    return [place.address for place in choice.places]


def test_the_one_network_that_all_share_is_taken_with_each_nodes_own_name_for_it():
    choice = choose([a_node(1, an_interface("eth0", "10.0.0.1/24")), a_node(2, an_interface("ens3", "10.0.0.2/24"))])
    assert names(choice) == ["eth0", "ens3"]
    assert addresses(choice) == ["10.0.0.1", "10.0.0.2"]
    assert choice.why == "all 2 nodes have an address in 10.0.0.0/24 on it"


def test_docker0_is_never_taken_although_all_nodes_are_in_its_network():
    choice = choose([a_node(n, DOCKER0, an_interface("eth0", f"10.0.0.{n}/24")) for n in (1, 2)])
    assert names(choice) == ["eth0", "eth0"]


def test_a_bridge_with_the_same_address_on_every_node_is_not_taken_whatever_its_name():
    alike = an_interface("mybr", "192.168.9.1/24", kind="bridge", gbit=None)
    choice = choose([a_node(n, alike, an_interface("eth0", f"10.{n}.0.1/24"), address=f"10.{n}.0.1") for n in (1, 2)])
    assert names(choice) == ["eth0", "eth0"]


def test_of_several_networks_the_fastest_wins():
    choice = choose(
        [
            a_node(
                n,
                an_interface("eno1", f"10.0.0.{n}/24", gbit=1),
                an_interface("bond0", f"10.1.0.{n}/24", kind="bond", gbit=50),
            )
            for n in (1, 2, 3)
        ]
    )
    assert names(choice) == ["bond0"] * 3


def test_infiniband_wins_over_slower_ethernet():
    choice = choose(
        [
            a_node(
                n,
                an_interface("eth0", f"10.0.0.{n}/24", gbit=25),
                an_interface("ib0", f"10.9.0.{n}/16", kind="infiniband", gbit=200),
            )
            for n in (1, 2)
        ]
    )
    assert names(choice) == ["ib0", "ib0"]


def test_a_faster_network_that_one_node_lacks_is_left_out_and_named():
    fast = [an_interface("ib0", f"10.9.0.{n}/16", kind="infiniband", gbit=200) for n in (1, 2)]
    slow = [an_interface("eth0", f"10.0.0.{n}/24", gbit=25) for n in (1, 2, 3)]
    choice = choose([a_node(1, slow[0], fast[0]), a_node(2, slow[1], fast[1]), a_node(3, slow[2])])
    assert names(choice) == ["eth0"] * 3
    assert "ib0 of gpu01 has 200.0 Gbit/s, but gpu03 is not in its network" in choice.why


def test_the_slowest_member_decides_how_fast_a_network_is():
    choice = choose(
        [
            a_node(1, an_interface("eth0", "10.0.0.1/24", gbit=25), an_interface("eth1", "10.1.0.1/24", gbit=100)),
            a_node(2, an_interface("eth0", "10.0.0.2/24", gbit=25), an_interface("eth1", "10.1.0.2/24", gbit=1)),
        ]
    )
    assert names(choice) == ["eth0", "eth0"]


def test_a_bridge_is_taken_only_where_nothing_physical_is_shared():
    bridge = [an_interface("br0", f"10.0.0.{n}/24", kind="bridge", gbit=None) for n in (1, 2)]
    assert names(choose([a_node(1, bridge[0]), a_node(2, bridge[1])])) == ["br0", "br0"]
    both = [a_node(n, bridge[n - 1], an_interface("eth1", f"10.1.0.{n}/24", gbit=1)) for n in (1, 2)]
    assert names(choose(both)) == ["eth1", "eth1"]


def test_an_interface_that_is_down_is_not_taken():
    choice = choose(
        [
            a_node(
                n,
                an_interface("eth1", f"10.1.0.{n}/24", gbit=100, state="down"),
                an_interface("eth0", f"10.0.0.{n}/24"),
            )
            for n in (1, 2)
        ]
    )
    assert names(choice) == ["eth0", "eth0"]


def test_nodes_with_ipv6_only_are_dialled_by_ipv6():
    choice = choose([a_node(n, an_interface("eth0", "fe80::1/64", f"2001:db8::{n}/64"), address="::") for n in (1, 2)])
    assert addresses(choice) == ["2001:db8::1", "2001:db8::2"]


def test_ipv4_goes_before_ipv6_on_the_same_interface():
    choice = choose([a_node(n, an_interface("eth0", f"2001:db8::{n}/64", f"10.0.0.{n}/24")) for n in (1, 2)])
    assert addresses(choice) == ["10.0.0.1", "10.0.0.2"]


def test_a_node_known_by_its_hostname_only_is_placed_by_the_shared_network():
    choice = choose([a_node(n, an_interface("eth0", f"10.0.0.{n}/24"), address=f"gpu{n}.example") for n in (1, 2)])
    assert addresses(choice) == ["10.0.0.1", "10.0.0.2"]


def test_where_each_node_has_a_network_of_its_own_the_reached_address_is_taken():
    choice = choose(
        [
            a_node(
                n,
                an_interface("eth0", f"10.{n}.0.5/26", gbit=1),
                an_interface("eth1", f"10.9.{n}.5/31"),
                address=f"10.{n}.0.5",
            )
            for n in (1, 2)
        ]
    )
    assert addresses(choice) == ["10.1.0.5", "10.2.0.5"]
    assert choice.why.startswith("no network is common to all nodes")


def test_behind_a_translated_address_the_default_route_decides():
    routes = (Route(destination="default", interface="eth1", gateway="10.9.1.1"),)
    choice = choose(
        [
            a_node(
                n,
                an_interface("eth0", f"10.{n}.0.5/26"),
                an_interface("eth1", f"10.9.{n}.5/24"),
                address="203.0.113.7",
                routes=routes,
            )
            for n in (1, 2)
        ]
    )
    assert names(choice) == ["eth1", "eth1"]


def test_the_inventory_wins():
    slow = [an_interface("eth0", f"10.0.0.{n}/24", gbit=1) for n in (1, 2)]
    fast = [an_interface("eth1", f"10.1.0.{n}/24", gbit=100) for n in (1, 2)]
    choice = choose([a_node(1, slow[0], fast[0], data_interface="eth0"), a_node(2, slow[1], fast[1])])
    assert names(choice) == ["eth0", "eth0"]
    assert choice.why.startswith("named in the inventory for 1 of 2 nodes; ")


def test_an_interface_of_the_inventory_that_a_node_lacks_leaves_that_node_out():
    nodes = [a_node(n, an_interface("eth0", f"10.0.0.{n}/24")) for n in (1, 2)]
    choice = choose([*nodes, a_node(3, an_interface("eth0", "10.0.0.3/24"), data_interface="ib7")])
    assert [place.node for place in choice.places] == ["gpu01", "gpu02"]
    assert choice.left_out == {"gpu03": "interface: found eth0, expected ib7, which the inventory names"}


def test_a_node_whose_interfaces_are_not_known_is_left_out_with_the_reason():
    nodes = [a_node(n, an_interface("eth0", f"10.0.0.{n}/24")) for n in (1, 2)]
    silent = Node(name="gpu03", address="10.0.0.3", reach=Reach(outcome="answered"), interfaces=Missing("no netlink"))
    assert choose([*nodes, silent]).left_out == {"gpu03": "no netlink"}


def test_two_nodes_with_the_same_address_are_left_out_together():
    choice = choose([a_node(n, an_interface("eth0", f"10.0.0.{min(n, 3)}/24")) for n in (1, 2, 3, 4)])
    assert addresses(choice) == ["10.0.0.1", "10.0.0.2"]
    assert choice.left_out["gpu03"] == "gpu03 and gpu04 have the same address 10.0.0.3"


def fast_and_slow(*last: int) -> Choice:
    """eno1 with 1 Gbit/s, and ib0 with an address that ends so on each node."""
    return choose(
        [
            a_node(n, an_interface("eno1", f"10.0.0.{n}/24", gbit=1), an_interface("ib0", f"10.9.0.{own}/16", gbit=200))
            for n, own in enumerate(last, start=1)
        ]
    )


@pytest.mark.parametrize("last", [(1, 1), (1, 2, 2), (1, 3, 3, 4)])
def test_a_better_network_that_is_lost_to_a_duplicate_address_is_named(last):
    choice = fast_and_slow(*last)
    assert names(choice) == ["eno1"] * len(last)
    one = max(last, key=last.count)
    first = last.index(one) + 1
    alike = f"gpu{first:02} and gpu{first + 1:02} hold the same address 10.9.0.{one}"
    assert choice.why.endswith(f"ib0 (10.9.0.0/16, 200.0 Gbit/s) is lost: {alike}")


def test_an_address_that_all_hold_is_a_convention_and_no_loss():
    assert "lost" not in fast_and_slow(1, 1, 1, 1).why


def test_a_route_that_leaves_through_another_interface_is_named():
    across = (Route(destination="10.0.0.0/24", interface="eth0"), Route(destination="10.0.0.2/32", interface="wg0"))
    choice = choose(
        [
            a_node(1, an_interface("eth0", "10.0.0.1/24"), routes=across),
            a_node(2, an_interface("eth0", "10.0.0.2/24"), routes=across[:1]),
        ]
    )
    assert "but gpu01 sends to 10.0.0.2 (gpu02) through wg0" in choice.why


def test_one_node_alone_uses_its_loopback():
    choice = choose([a_node(1, an_interface("eth0", "10.0.0.1/24"))])
    assert (names(choice), addresses(choice)) == (["lo"], ["127.0.0.1"])


def test_one_node_alone_uses_what_the_inventory_names():
    assert names(choose([a_node(1, an_interface("eth0", "10.0.0.1/24"), data_interface="eth0")])) == ["eth0"]


@pytest.mark.parametrize("interfaces", [(), (DOCKER0,)])
def test_a_node_without_an_address_to_dial_is_left_out(interfaces):
    others = [a_node(n, an_interface("eth0", f"10.0.0.{n}/24")) for n in (1, 2)]
    left_out = choose([*others, a_node(3, *interfaces)]).left_out
    assert left_out == {"gpu03": "no interface has an address that other nodes could dial"}
