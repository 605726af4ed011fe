"""Does an interface lead to the other nodes, and is it not known where only a gateway could say?"""

from __future__ import annotations

import msgspec
import pytest

from diag.facts.leads import leads
from diag.facts.network import Interface, Route
from diag.facts.node import Node, Reach
from diag.facts.record import Missing


def port(name: str, *addresses: str, kind: str = "physical", bridge: bool = False) -> Interface:
    return Interface(name=name, kind=kind, state="up", mtu_bytes=1500, addresses=addresses, virtual_bridge=bridge)


DOCKER0 = port("docker0", "172.17.0.1/16", kind="bridge", bridge=True)


def node(number: int, *ports: Interface, routes: tuple[Route, ...] = ()) -> Node:
    return Node(
        name=f"n{number}",
        address=f"10.0.0.{number}",
        reach=Reach(outcome="answered"),
        interfaces=(port("eth0", f"10.0.0.{number}/24"), *ports),
        routes=(Route(destination="default", interface="eth0", gateway="10.0.0.254"), *routes),
    )


def asked(*nodes: Node) -> bool | None:
    """Of the last interface of the first node."""
    return leads(nodes[0].interfaces[-1], nodes[0], nodes)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_network_in_which_all_have_an_address_leads_to_them(count):
    assert asked(*(node(n, port("eno1", f"10.1.0.{n}/24")) for n in range(1, count + 1))) is True


@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_bridge_that_every_node_has_for_itself_leads_nowhere(count):
    assert asked(*(node(n, DOCKER0) for n in range(1, count + 1))) is False
    assert asked(node(1, DOCKER0), *(node(n) for n in range(2, count + 1))) is False


def test_the_same_address_on_every_node_leads_nowhere_whatever_the_interface_is():
    assert asked(*(node(n, port("usb0", "192.168.9.1/24")) for n in (1, 2, 3))) is False


def test_what_only_the_gateway_could_pass_on_is_not_known():
    assert asked(node(1, port("eno1", "10.1.1.1/24")), node(2, port("eno1", "10.1.2.1/24"))) is None


def test_what_no_route_leads_to_is_not_reached():
    near = (Route(destination="10.0.0.0/24", interface="eth0"),)
    peers = [msgspec.structs.replace(node(n), routes=near) for n in (2, 3)]
    assert asked(node(1, port("eno1", "10.1.1.1/24")), *peers) is False


def test_a_route_of_its_own_leads_there_even_to_a_bridge():
    cni = port("cni0", "10.244.1.1/24", kind="bridge", bridge=True)
    way = Route(destination="10.244.1.0/24", interface="flannel.1", gateway="10.244.1.0")
    assert asked(node(1, cni), node(2, routes=(way,)), node(3, routes=(way,))) is True


def test_one_peer_that_lacks_its_address_makes_the_interface_of_the_others_not_wrong():
    lacking = msgspec.structs.replace(node(3), routes=())
    assert asked(*(node(n, port("eno1", f"10.1.0.{n}/24")) for n in (1, 2, 4, 5)), lacking) is None


def test_peers_that_told_nothing_make_it_not_known():
    silent = msgspec.structs.replace(node(2), interfaces=Missing("no answer"))
    assert asked(node(1, port("eno1", "10.1.0.1/24")), silent) is None
