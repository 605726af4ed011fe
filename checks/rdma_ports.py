"""Are the ports of the RDMA devices up, managed, full speed, and do they speak the same as those of the other nodes?"""

import pytest

from diag.facts.derived import has_rdma, rdma_ends
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.rails import ETHERNET, End, speaking_gid
from diag.facts.verdict import finding
from diag.units import gbit_per_s

INFINIBAND = "InfiniBand"
LINKED = ("linkup", "linkerrorrecovery")
"""Physical states of a port at whose other end somebody answers."""
FULL_MEMBER = 0x8000
"""The highest bit of a partition key: without it a port speaks to full members only (IBTA, 10.9.1.2)."""
SHOWN = 4

on_rdma = pytest.mark.applies(has_rdma, reason="no RDMA device")
on_infiniband = pytest.mark.applies(lambda port: port.port.link_layer == INFINIBAND, reason="not InfiniBand")
on_roce = pytest.mark.applies(lambda port: port.port.link_layer == ETHERNET, reason="not RoCE")
active = pytest.mark.applies(lambda port: port.port.state == "active", reason="the port is not active")


def has_link(port: End) -> bool:
    return port.port.physical_state in LINKED or port.port.state == "active"


linked = pytest.mark.applies(has_link, reason="no link")


def active_ends(node: Node) -> list[End]:
    return [end for end in rdma_ends(node) if end.port.state == "active"]


def linked_ports(node: Node) -> tuple[str, ...]:
    return tuple(end.name for end in rdma_ends(node) if has_link(end))


@on_rdma
@pytest.mark.cause("rdma_bad_hca_selected")
def check_ports_that_peers_use_have_a_link(node: Node, peers: Peers) -> None:
    """A port without a link that is up on the other nodes is a rail of which this node is missing: NCCL stops or slows.

    Do: look at cable, transceiver and switch port; until then leave it out on all nodes (NCCL_IB_HCA=^=name).
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/*state'
    """
    same = peers.by(linked_ports)
    own, common = same.of(node), same.common if same.has_majority else ()
    down = [name for name in common if name not in own] if isinstance(common, tuple) else []
    found = f"no link at {', '.join(down[:SHOWN])}"
    assert not down, finding(found, f"a link, as on {same.common_count} of {len(same.values)} nodes")


@pytest.mark.advice
@pytest.mark.needs("check_ports_that_peers_use_have_a_link")
@pytest.mark.cause("rdma_bad_hca_selected")
def check_port_has_a_link(port: End) -> None:
    """A port without a cable is no fault, but NCCL may choose it, and one whose cable is loose looks the same.

    Do: name the ports that have a link in NCCL_IB_HCA; look at the cable where there should be one.
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/*state'
    """
    state = f"{port.name} is {port.port.state} ({port.port.physical_state})"
    assert has_link(port), finding(state, "active")


@on_infiniband
@linked
@pytest.mark.cause("ib_no_subnet_manager")
def check_port_has_a_subnet_manager(port: End) -> None:
    """An InfiniBand port gets its address from a subnet manager; without one it stays in Initializing for ever.

    Do: start the subnet manager (opensm, or the switch's own), and see that the port is in its partition.
    $ ssh {node} 'ibstat; sudo sminfo'
    """
    state, lid, manager = port.port.state, port.port.lid, port.port.sm_lid
    managed = state == "active" and lid is not None and manager is not None
    found = f"{port.name} is {state}, LID {lid or 'none'}, subnet manager {manager or 'none'}"
    assert managed, finding(found, "active, with a LID and a subnet manager")


def rate(end: End) -> str:
    """With its board: a second, slower kind of card is no slow link."""
    return f"{end.hca.board or end.hca.vendor or end.hca.driver} {gbit_per_s(end.port.rate_bits_per_s / 8)}"


def rates(node: Node) -> tuple[str, ...]:
    return tuple(sorted({rate(end) for end in active_ends(node)}))


@on_rdma
@pytest.mark.cause("link_slow")
def check_port_rates_are_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """A link that came up at a lower rate or with fewer lanes than its peers' slows every collective down to its own.

    Do: reseat or swap cable and transceiver; look at what the switch port is set to.
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/rate'
    """
    same = peers.by(rates)
    agree = same.agree(node)
    common = same.common if same.has_majority and isinstance(same.common, tuple) else None
    odd = [f"{end.name}: {rate(end)}" for end in active_ends(node) if common is not None and rate(end) not in common]
    expected = f"{', '.join(common or ())}, as on {same.common_count} of {len(same.values)} nodes"
    message = finding("; ".join(odd[:SHOWN]), expected) if odd else same.finding(node, "port rates")
    assert agree or (common is not None and not odd), message


@on_infiniband
@active
@pytest.mark.advice
@pytest.mark.cause("link_slow")
def check_port_uses_several_lanes(port: End) -> None:
    """InfiniBand links have four lanes, or two where a port is split: one alone is what is left of a bad cable.

    Do: reseat or swap the cable; ask the switch what width it sees.
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/rate; ibstat'
    """
    assert port.port.width > 1, finding(f"{port.name}: {port.port.width} lane", "2 or 4 lanes")


def link_layers(node: Node) -> tuple[str, ...]:
    return tuple(sorted({end.port.link_layer for end in active_ends(node)}))


@on_rdma
@pytest.mark.needs("check_ports_that_peers_use_have_a_link")
@pytest.mark.cause("rdma_bad_hca_selected")
def check_link_layers_are_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """InfiniBand and RoCE do not speak to each other: a card that is set to the other kind reaches nobody.

    Do: set the card's link type as on the others (mlxconfig LINK_TYPE_P1, needs root and a restart).
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/link_layer'
    """
    same = peers.by(link_layers)
    assert same.agree(node), same.finding(node, "link layers")


def mtus(node: Node) -> tuple[int, ...]:
    return tuple(sorted({end.port.mtu_active_bytes for end in active_ends(node)}))


@on_rdma
@pytest.mark.optional
@pytest.mark.cause("mtu_mismatch")
def check_rdma_mtu_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Some libraries take the smaller of both ends, others take their own and lose every full packet.

    Do: give RoCE's interfaces one MTU on all nodes and switches (9000: 4,096 for RDMA); on InfiniBand ask its manager.
    $ ssh {node} 'ibv_devinfo | grep -E "hca_id|mtu"'
    """
    same = peers.by(mtus)
    assert same.agree(node), same.finding(node, "RDMA MTU")


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


@on_roce
@active
@pytest.mark.needs("check_roce_port_has_an_interface_here")
@pytest.mark.cause("roce_gid_index")
def check_roce_port_has_a_gid_to_speak_with(port: End) -> None:
    """RoCE v2 sends from an address: where the interface has none, only link-local GIDs are left.

    Do: give the RoCE interface an IPv4 address; the kernel makes its GID.
    $ ssh {node} 'ip -brief address; grep . /sys/class/infiniband/*/ports/1/gids/* | grep -v :0000:0000:0000:0000$'
    """
    kinds = sorted({f"{gid.kind}{' (link-local)' if gid.link_local else ''}" for gid in port.port.gids})
    found = f"{port.name}: {', '.join(kinds) or 'no GID at all'}"
    assert speaking_gid(port.port) is not None, finding(found, "a RoCE v2 GID of an IPv4 address")


def gid_indexes(node: Node) -> tuple[str, ...]:
    ends = [end for end in active_ends(node) if end.port.link_layer == ETHERNET]
    chosen = [(end.name, speaking_gid(end.port)) for end in ends]
    return tuple(f"{name}: {gid.index if gid is not None else 'none'}" for name, gid in chosen)


@on_rdma
@pytest.mark.applies(
    lambda node: any(end.port.link_layer == ETHERNET for end in active_ends(node)), reason="no active RoCE port"
)
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


@on_infiniband
@active
@pytest.mark.cause("pkey_differs")
def check_port_is_a_full_member_of_a_partition(port: End) -> None:
    """Two limited members of a partition cannot speak to each other: connections time out, both ends look well.

    Do: let the subnet manager make the port a full member (partitions.conf: =full).
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/pkeys/* | grep -v 0x0000'
    """
    keys = ", ".join(f"{key:#06x}" for key in port.port.pkeys)
    found = f"{port.name}: partition keys {keys or 'none'}"
    assert any(key & FULL_MEMBER for key in port.port.pkeys), finding(found, "full membership (0x8000 set) in one")


def partitions(node: Node) -> tuple[str, ...]:
    ends = [end for end in active_ends(node) if end.port.link_layer == INFINIBAND]
    return tuple(sorted({f"{key & ~FULL_MEMBER:#06x}" for end in ends for key in end.port.pkeys}))


@on_rdma
@pytest.mark.applies(
    lambda node: any(end.port.link_layer == INFINIBAND for end in active_ends(node)), reason="no active InfiniBand port"
)
@pytest.mark.needs("check_port_is_a_full_member_of_a_partition")
@pytest.mark.cause("pkey_differs")
def check_partitions_are_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Ports of different partitions cannot reach each other, whatever the fabric between them carries.

    Do: put all nodes of the cluster into the same partitions (the subnet manager's partitions.conf).
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/pkeys/* | grep -v 0x0000'
    """
    same = peers.by(partitions)
    assert same.agree(node), same.finding(node, "partitions")
