"""Can RoCE ports speak: with a GID of an address, in this network namespace, alike on all nodes?"""

import pytest

from diag.facts.derived import active_ends, has_rdma
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.rails import ETHERNET, End, speaking_gid
from diag.facts.record import NotMeasured
from diag.facts.verdict import finding

SHOWN = 4

on_rdma = pytest.mark.applies(has_rdma, reason="no RDMA device")
on_roce = pytest.mark.applies(lambda port: port.port.link_layer == ETHERNET, reason="not RoCE")
active = pytest.mark.applies(lambda port: port.port.state == "active", reason="the port is not active")


@on_roce
@active
@pytest.mark.advice
@pytest.mark.optional
def check_roce_mtu_is_the_highest(port: End) -> None:
    """RoCE on interfaces of 1,500 bytes sends packets of 1,024: four times as many as at 9,000, on NIC and switch.

    Do: raise the interface's MTU to 9000 on all nodes, and on the switches first.
    $ ssh {node} 'ibv_devinfo | grep -E "hca_id|mtu"; ip -brief link'
    """
    now, most = port.port.mtu_active_bytes, port.port.mtu_max_bytes
    assert now >= most, finding(f"{port.name}: RDMA MTU {now}", f"{most}")


@on_roce
@active
@pytest.mark.cause("roce_container_netns_no_gid")
def check_roce_port_has_an_interface_here(port: End) -> None:
    """A GID is of use only where its interface is: in another network namespace the device is there and reaches nobody.

    Do: start the container with --network host, or give it the interface (SR-IOV device plugin, macvlan).
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/1/gid_attrs/ndevs/* 2>/dev/null; ip -brief link'
    """
    here = [gid for gid in port.port.gids if gid.interface is not None]
    found = f"none of {len(port.port.gids)} GIDs of {port.name} has its interface in this network namespace"
    assert here or not port.port.gids, finding(found, "the interface of its GIDs")


def speaking_ports(node: Node) -> tuple[str, ...]:
    """InfiniBand needs no GID to speak."""
    ends = active_ends(node)
    return tuple(end.name for end in ends if end.port.link_layer != ETHERNET or speaking_gid(end.port) is not None)


def has_roce(node: Node) -> bool:
    return any(end.port.link_layer == ETHERNET for end in active_ends(node))


@on_rdma
@pytest.mark.applies(has_roce, reason="no active RoCE port")
@pytest.mark.needs("check_ports_that_peers_use_have_a_link", "check_roce_port_has_an_interface_here")
@pytest.mark.cause("roce_gid_index")
def check_roce_ports_that_peers_use_have_an_address(node: Node, peers: Peers) -> None:
    """RoCE v2 sends from an address: a rail whose interface has none on one node hangs, or fails there alone.

    Do: give the RoCE interface an IPv4 address as on the other nodes; the kernel makes its GID.
    $ ssh {node} 'ip -brief address; grep . /sys/class/infiniband/*/ports/1/gids/* | grep -v :0000:0000:0000:0000$'
    """
    same = peers.by(speaking_ports)
    mute = same.lacking(node)
    found = f"no RoCE v2 GID of an address at {', '.join(mute[:SHOWN])}"
    assert not mute, finding(found, f"one, as on {same.common_count} of {len(same.values)} nodes")


@on_roce
@active
@pytest.mark.advice
@pytest.mark.needs("check_roce_port_has_an_interface_here", "check_roce_ports_that_peers_use_have_an_address")
@pytest.mark.cause("roce_gid_index")
def check_roce_port_has_a_gid_to_speak_with(port: End) -> None:
    """Where an interface has no address only link-local GIDs are left, which no router takes; NCCL may choose the port.

    Do: give the RoCE interface an IPv4 address, or leave the port out of NCCL_IB_HCA.
    $ ssh {node} 'ip -brief address; grep . /sys/class/infiniband/*/ports/1/gids/* | grep -v :0000:0000:0000:0000$'
    """
    kinds = sorted({f"{gid.kind}{' (link-local)' if gid.link_local else ''}" for gid in port.port.gids})
    found = f"{port.name}: {', '.join(kinds) or 'no GID at all'}"
    assert speaking_gid(port.port) is not None, finding(found, "a RoCE v2 GID of an IPv4 address")


def gid_indexes(node: Node) -> tuple[str, ...]:
    ends = [end for end in active_ends(node) if end.port.link_layer == ETHERNET]
    if not ends:
        raise NotMeasured("no RoCE port of it is active")
    chosen = [(end.name, speaking_gid(end.port)) for end in ends]
    return tuple(f"{name}: {gid.index if gid is not None else 'none'}" for name, gid in chosen)


@on_rdma
@pytest.mark.applies(has_roce, reason="no active RoCE port")
@pytest.mark.advice
@pytest.mark.needs("check_roce_port_has_a_gid_to_speak_with", "check_rdma_devices_are_the_same_on_all_nodes")
@pytest.mark.cause("roce_gid_index")
def check_gid_indexes_are_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """One NCCL_IB_GID_INDEX for all nodes is right only where the same index means the same; else it must be unset.

    Do: leave NCCL_IB_GID_INDEX unset (NCCL 2.21 or newer finds it), or set NCCL_IB_ADDR_FAMILY and _RANGE.
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/1/gids/* | grep -v 0000:0000:0000:0000:0000:0000'
    """
    same = peers.by(gid_indexes)
    assert same.agree(node), same.finding(node, "GID index of RoCE v2")
