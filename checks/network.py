"""Do interfaces and routes lead from every node to every other?"""

import pytest

from diag.facts.derived import (
    addresses,
    data_interface,
    in_container,
    is_local_only,
    networks,
    own_addresses,
    setting,
    several_nodes,
)
from diag.facts.network import Interface
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import finding
from diag.units import gbit_per_s

dialled = pytest.mark.applies(several_nodes, reason="one node: no other dials it")

CARRYING = ("up", "unknown")
"""States of an interface that passes packets; drivers without a carrier say unknown (operstates.rst of Linux)."""
SHOWN = 4
"""So many names are shown in a finding."""


@pytest.mark.applies(lambda node: node.data_interface is not None, reason="the inventory names no interface")
@pytest.mark.cause("nccl_socket_ifname_wrong")
def check_named_interface_exists(node: Node) -> None:
    """The interface that the inventory names is exported to NCCL and GLOO; without it they do not start.

    Do: name one of the node's interfaces with interface= in the inventory.
    $ ssh {node} ip -brief address
    """
    names = sorted(interface.name for interface in node.interfaces)
    assert node.data_interface in names, finding(f"no interface {node.data_interface}", f"one of {', '.join(names)}")


@dialled
@pytest.mark.needs("check_named_interface_exists")
@pytest.mark.cause("no_usable_ip_interface")
def check_data_interface_is_up(node: Node, cluster: Snapshot) -> None:
    """Collectives and rendezvous go over this interface; without carrier or address no rank reaches another.

    Do: bring it up and give it its address, or name another one with interface= in the inventory.
    $ ssh {node} ip -brief address
    """
    interface = data_interface(node, cluster)
    found = f"{interface.name} is {interface.state} and has {len(interface.addresses)} addresses"
    carries = interface.state in CARRYING and bool(interface.addresses)
    assert carries, finding(found, "up, with an address")


@dialled
@pytest.mark.needs("check_named_interface_exists")
@pytest.mark.cause("container_bridge_network_advertised")
def check_data_interface_is_no_virtual_bridge(node: Node, cluster: Snapshot) -> None:
    """docker0, virbr0 and the like end on this node: an address there is advertised, and no peer reaches it.

    Do: name the interface that leads to the other nodes with interface= in the inventory.
    $ ssh {node} ip route
    """
    interface = data_interface(node, cluster)
    found = f"{interface.name} carries the data"
    assert not interface.virtual_bridge, finding(found, "an interface that leaves the node")


def data_mtu(node: Node, cluster: Snapshot) -> int:
    return data_interface(node, cluster).mtu_bytes


@pytest.mark.needs("check_named_interface_exists")
@pytest.mark.cause("mtu_mismatch")
def check_data_mtu_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Small packets pass and large ones are lost: rendezvous works, then the first collective hangs without an error.

    Do: set the same MTU on the data interface of all nodes, and on the switch.
    $ ssh {node} ip -brief link
    """
    same = peers.by(data_mtu)
    assert same.agree(node), same.finding(node, "MTU")


def data_speed(node: Node, cluster: Snapshot) -> str | None:
    speed = data_interface(node, cluster).speed_bits_per_s
    return None if speed is None else gbit_per_s(speed / 8)


@pytest.mark.needs("check_data_interface_is_up")
@pytest.mark.applies(lambda node, peers: peers.by(data_speed).present(node), reason="the driver reports no link speed")
@pytest.mark.cause("node_slow")
def check_data_link_speed_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """A link that agreed on a lower speed (cable, transceiver, port) slows every collective to its own rate.

    Do: look at the cable, the transceiver and the switch port.
    $ ssh {node} 'ip -brief address; dmesg | grep -i "link is up" | tail'
    """
    same = peers.by(data_speed)
    assert same.agree(node), same.finding(node, "link speed")


def data_name(node: Node, cluster: Snapshot) -> str:
    return data_interface(node, cluster).name


@pytest.mark.advice
@pytest.mark.needs("check_named_interface_exists")
@pytest.mark.cause("ifname_env_not_on_all_nodes")
def check_data_interface_has_the_same_name_on_all_nodes(node: Node, peers: Peers) -> None:
    """One NCCL_SOCKET_IFNAME for all nodes works only where the interface is called the same on all of them.

    Do: export NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME on each node with the name that it has there.
    $ ssh {node} ip -brief address
    """
    same = peers.by(data_name)
    assert same.agree(node), same.finding(node, "data interface")


def default_interfaces(node: Node) -> set[str]:
    return {route.interface for route in node.routes if route.destination == "default"}


@dialled
@pytest.mark.advice
@pytest.mark.applies(lambda node: bool(default_interfaces(node)), reason="no default route")
@pytest.mark.applies(lambda node: setting(node, "VLLM_HOST_IP") is None, reason="VLLM_HOST_IP is set")
@pytest.mark.cause("ray_node_ip_mismatch")
def check_default_route_leaves_by_the_data_interface(node: Node, cluster: Snapshot) -> None:
    """vLLM and Ray take the address from which the default route leaves for the node's own; peers must reach that one.

    Do: export VLLM_HOST_IP={address} on this node, and start Ray with --node-ip-address={address}.
    $ ssh {node} ip route get 8.8.8.8
    """
    data, default = data_interface(node, cluster).name, default_interfaces(node)
    assert data in default, finding(f"the default route leaves by {', '.join(sorted(default))}", data)


@dialled
@pytest.mark.applies(in_container, reason="not in a container")
@pytest.mark.applies(lambda node: node.data_interface is None, reason="the inventory names the interface")
@pytest.mark.cause("container_bridge_network_advertised")
def check_container_holds_the_nodes_address(node: Node) -> None:
    """In a bridge network a container advertises an address (172.17.…) that exists on its own host only.

    Do: start the container with the host's network (docker run --network host).
    $ ssh {node} ip -brief address
    """
    own = sorted(own for own in own_addresses(node) if not is_local_only(own))
    assert node.address in own, finding(f"only {', '.join(own) or 'loopback'} inside the container", node.address)


@pytest.mark.advice
@pytest.mark.applies(lambda interface: bool(addresses(interface)), reason="it has no address")
@pytest.mark.applies(lambda interface: not interface.virtual_bridge, reason="a bridge for containers on the node")
def check_interface_with_an_address_is_up(interface: Interface) -> None:
    """Libraries choose among the interfaces that have an address, also one whose cable is pulled.

    Do: bring {subject} up, or take its address away.
    $ ssh {node} ip -brief address show {subject}
    """
    found = f"{interface.name} is {interface.state} and has {interface.addresses[0]}"
    assert interface.state in CARRYING, finding(found, "up, or without an address")


@pytest.mark.advice
@dialled
def check_no_two_interfaces_share_a_network(node: Node) -> None:
    """Answers leave by the first of two interfaces in one network whichever was asked; links then count double or hang.

    Do: give each interface its own network, or set arp_ignore=1, arp_announce=2 and routes by source address.
    $ ssh {node} 'ip -brief address; ip rule'
    """
    carrying = [interface for interface in node.interfaces if interface.state in CARRYING]
    held = [network for interface in carrying for network in networks(interface)]
    twice = sorted({network for network in held if held.count(network) > 1})
    assert not twice, finding(f"two interfaces in {', '.join(twice)}", "one interface a network")
