"""Do the variables that steer RDMA name HCAs, ports and GIDs that exist on the node and mean the same on all?"""

import pytest

from diag.facts.derived import setting
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.rdma import Gid, RdmaPort
from diag.facts.record import NotMeasured
from diag.facts.selectors import more_than_named, selector
from diag.facts.verdict import finding

HCA, INDEX, UCX = "NCCL_IB_HCA", "NCCL_IB_GID_INDEX", "UCX_NET_DEVICES"
EVERY = ("", "all")
"""Values of UCX_NET_DEVICES that leave the choice to UCX."""

with_hcas = pytest.mark.applies(lambda node: bool(node.hcas), reason="no RDMA device")


def is_set(name: str) -> pytest.MarkDecorator:
    return pytest.mark.applies(lambda node: setting(node, name) is not None, reason=f"{name} is not set")


def names(node: Node) -> list[str]:
    return [hca.name for hca in node.hcas]


@is_set(HCA)
@with_hcas
@pytest.mark.cause("rdma_bad_hca_selected")
def check_nccl_ib_hca_names_hcas_that_exist(node: Node) -> None:
    """NCCL drops what it does not find without a word: with none left it goes over sockets, with fewer it is slower.

    Do: name HCAs of this node, exactly: NCCL_IB_HCA==mlx5_0,mlx5_1, or unset it.
    $ ssh {node} 'ls /sys/class/infiniband; env | grep NCCL_IB_HCA; cat /etc/nccl.conf'
    """
    value = setting(node, HCA) or ""
    chosen = selector(value)
    ports = [(hca.name, port.number) for hca in node.hcas for port in hca.ports]
    none = [word for word, at in chosen.words if not any(chosen.means(word, at, *each) for each in ports)]
    wrong = [] if chosen.excludes else none
    left = [name for name, number in ports if chosen.takes(name, number)]
    told = f"no such: {', '.join(wrong)}" if wrong else "" if left else "nothing is left"
    assert not told, finding(f"{HCA}={value}: {told}", f"names among {', '.join(names(node))}")


@is_set(HCA)
@with_hcas
@pytest.mark.cause("rdma_bad_hca_selected")
def check_nccl_ib_hca_takes_no_more_than_it_names(node: Node) -> None:
    """A name is a prefix to NCCL: mlx5_1 also takes mlx5_10, which may be of the storage network and hang it.

    Do: put = before the names: NCCL_IB_HCA==mlx5_1.
    $ ssh {node} 'ls /sys/class/infiniband; env | grep NCCL_IB_HCA; cat /etc/nccl.conf'
    """
    value = setting(node, HCA) or ""
    also = more_than_named(value, names(node))
    assert not also, finding(f"{HCA}={value} also takes {', '.join(also)}", f"={value}, which is exact")


def roce_ports(node: Node) -> list[tuple[str, RdmaPort]]:
    """Active ones that NCCL takes: it reads GIDs of Ethernet alone."""
    chosen = selector(setting(node, HCA) or "")
    return [
        (hca.name, port)
        for hca in node.hcas
        for port in hca.ports
        if port.link_layer == "Ethernet" and port.state == "active" and chosen.takes(hca.name, port.number)
    ]


on_roce = pytest.mark.applies(lambda node: bool(roce_ports(node)), reason="no active port of Ethernet")


def set_index(node: Node) -> int | None:
    """None: NCCL chooses (-1)."""
    value = setting(node, INDEX) or ""
    return int(value) if value.isdigit() else None


def gid_at(port: RdmaPort, index: int) -> Gid | None:
    return next((gid for gid in port.gids if gid.index == index), None)


def kind_of(gid: Gid | None) -> str:
    if gid is None:
        return "empty"
    family = "IPv4" if gid.ipv4 is not None else "link-local" if gid.link_local else "IPv6"
    return f"{gid.kind.replace('_', ' ')} of {family}"


GOOD = ("roce v2 of IPv4", "roce v2 of IPv6")


@is_set(INDEX)
@on_roce
@pytest.mark.cause("roce_gid_index")
def check_nccl_ib_gid_index_is_roce_v2(node: Node) -> None:
    """RoCE v1 and link-local GIDs reach no other network: queue pairs time out, and NCCL ends with error 12.

    Do: unset it (NCCL chooses since 2.21), or name the index of the RoCE v2 GID with the IPv4 address.
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/gid_attrs/types/* 2>/dev/null'
    """
    index = set_index(node)
    found = {} if index is None else {name: kind_of(gid_at(port, index)) for name, port in roce_ports(node)}
    wrong = [f"{name} {kind}" for name, kind in found.items() if kind not in GOOD]
    assert not wrong, finding(f"{INDEX}={index}: {', '.join(wrong)}", "RoCE v2 of an IPv4 address")


def meaning(node: Node) -> tuple[str, ...]:
    """What the index that is set stands for on its ports."""
    index = set_index(node)
    if setting(node, INDEX) is None:
        raise NotMeasured(f"{INDEX} is not set there")
    if index is None:
        return ("chosen by NCCL",)
    return tuple(sorted({kind_of(gid_at(port, index)) for _, port in roce_ports(node)}))


@is_set(INDEX)
@on_roce
@pytest.mark.needs("check_nccl_ib_gid_index_is_roce_v2")
@pytest.mark.cause("roce_gid_index")
def check_nccl_ib_gid_index_means_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """Tables differ between nodes: one index for all may be IPv4 here and IPv6 there, and the two cannot connect.

    Do: unset it (NCCL chooses since 2.21), or set on each node the index that its own table has.
    $ ssh {node} 'grep . /sys/class/infiniband/*/ports/*/gids/* 2>/dev/null'
    """
    same = peers.by(meaning)
    assert same.agree(node), same.finding(node, f"{INDEX} is")


@is_set(UCX)
@pytest.mark.cause("rdma_bad_hca_selected")
def check_ucx_net_devices_exist(node: Node) -> None:
    """UCX, under Mooncake, NIXL and MPI, ends with "no usable transports" where it names no device of the node.

    Do: name devices of this node, e.g. mlx5_0:1, or unset it.
    $ ssh {node} 'ls /sys/class/infiniband /sys/class/net; echo "$UCX_NET_DEVICES"'
    """
    value = setting(node, UCX) or ""
    there = {interface.name for interface in node.interfaces} | set(names(node))
    words = [] if value in EVERY else [word.partition(":")[0] for word in value.lstrip("^").split(",")]
    wrong = [word for word in words if word not in there]
    assert not wrong, finding(f"{UCX}={value}: no such: {', '.join(wrong)}", f"names among {', '.join(sorted(there))}")
