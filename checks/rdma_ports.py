"""Are the ports of the RDMA devices up, managed, full speed, and do they speak the same as those of the other nodes?"""

import pytest

from diag.facts.derived import active_ends, has_rdma, rdma_ends
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.rails import End
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
active = pytest.mark.applies(lambda port: port.port.state == "active", reason="the port is not active")


def has_link(port: End) -> bool:
    return port.port.physical_state in LINKED or port.port.state == "active"


linked = pytest.mark.applies(has_link, reason="no link")


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
    down = same.lacking(node)
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
    odd = [f"{end.name}: {rate(end)}" for end in active_ends(node) if rate(end) in same.apart(node)]
    expected = f"what {same.common_count} of {len(same.values)} nodes have"
    message = finding("; ".join(odd[:SHOWN]), expected) if same.has_majority else same.finding(node, "port rates")
    assert not odd, message


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
    assert not same.apart(node), same.finding(node, "link layers")


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
    assert not same.apart(node), same.finding(node, "RDMA MTU")


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
