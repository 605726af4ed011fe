"""Does every name and address lead to one node, and to the same one from everywhere?"""

import pytest

from diag.facts.derived import addresses, conventional, is_local_only, own_addresses, several_nodes
from diag.facts.network import Resolution
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.record import NotMeasured, is_known, peek
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import finding, listed

dialled = pytest.mark.applies(several_nodes, reason="one node: no other dials it")

CARRYING = ("up", "unknown")
"""States of an interface that passes packets; drivers without a carrier say unknown (operstates.rst of Linux)."""
SHOWN = 4
"""So many names are shown in a finding."""


@dialled
@pytest.mark.needs("check_address_is_unique")
@pytest.mark.cause("gloo_hostname_loopback")
def check_hostname_is_not_loopback(node: Node) -> None:
    """GLOO and Ray advertise what a node's own name resolves to; at a loopback address the others dial themselves.

    Do: put "{address} {hostname}" before 127.0.1.1 in /etc/hosts (needs root), or export GLOO_SOCKET_IFNAME.
    $ ssh {node} 'getent ahosts "$(hostname)"'
    """
    name, own = node.hostname.name, node.hostname.addresses
    found = f"{name} resolves to {own[0]} on {node.name}" if own else f"{name} does not resolve on {node.name}"
    expected = f"an address its peers can reach: {node.address}"
    reachable = bool(own) and not is_local_only(own[0])
    assert reachable, finding(found, expected)


@dialled
@pytest.mark.needs("check_hostname_is_not_loopback", "check_container_holds_the_nodes_address")
@pytest.mark.cause("rendezvous_master_not_recognised")
def check_hostname_is_an_address_of_this_node(node: Node) -> None:
    """A master that does not find the rendezvous address among its own opens no store, and every rank waits for it.

    Do: correct the entry in /etc/hosts or in the name service: it names an address that this node does not have.
    $ ssh {node} 'getent ahosts "$(hostname)"; ip -brief address'
    """
    own = node.hostname.addresses
    expected = f"one of its own, e.g. {node.address}"
    assert own[0] in own_addresses(node), finding(f"{node.hostname.name} resolves to {own[0]}", expected)


def told_by_others(node: Node, peers: Peers) -> list[Resolution]:
    """What this node's name resolves to elsewhere, also where that is not known. NotMeasured: no other was asked."""
    rows = [row for row in peers.resolutions(node.hostname.name) if any(name != node.name for name in row.nodes)]
    if not rows:
        raise NotMeasured(f"no other node was asked for {node.hostname.name}")
    return rows


def answered(rows: list[Resolution]) -> list[Resolution]:
    return [row for row in rows if is_known(row, "addresses")]


def require_answers(rows: list[Resolution], node: Node) -> None:
    """Raises NotMeasured where a peer got no answer: what its resolver says another time may be wrong."""
    for row in rows:
        if not is_known(row, "addresses"):
            raise NotMeasured(f"{named([row], node)}: {peek(row, 'addresses').why}")


def named(rows: list[Resolution], node: Node) -> str:
    """``gpu02, gpu03 and 5 more``: who answered so."""
    return listed([name for row in rows for name in row.nodes if name != node.name])


@pytest.mark.advice
def check_peers_resolve_its_hostname(node: Node, peers: Peers) -> None:
    """Launchers and rendezvous addresses that name a host instead of an address need every other node to resolve it.

    Do: add "{address} {hostname}" to /etc/hosts of the other nodes, or use addresses only.
    $ getent hosts {hostname}
    """
    silent = [row for row in answered(told_by_others(node, peers)) if not row.addresses]
    found = f"{node.hostname.name} does not resolve on {named(silent, node)}"
    assert not silent, finding(found, f"{node.address} on all nodes")
    require_answers(told_by_others(node, peers), node)


@pytest.mark.needs("check_address_is_unique", "check_container_holds_the_nodes_address")
@pytest.mark.cause("rendezvous_master_unresolvable")
def check_no_peer_resolves_its_hostname_elsewhere(node: Node, peers: Peers) -> None:
    """A peer that resolves this node's name to its own loopback or to an old address dials the wrong host.

    Do: correct {hostname} in /etc/hosts of the nodes named, or in the name service.
    $ getent ahosts {hostname}
    """
    own, rows = own_addresses(node), told_by_others(node, peers)
    wrong = [row for row in answered(rows) if row.addresses and not right(row, own)]
    where = f"{node.hostname.name} resolves to {wrong[0].addresses[0]} on {named(wrong, node)}" if wrong else ""
    assert not wrong, finding(where, f"an address of {node.name}: {node.address}")
    require_answers(rows, node)


def right(row: Resolution, own: frozenset[str]) -> bool:
    return row.addresses[0] in own and not is_local_only(row.addresses[0])


@pytest.mark.cause("duplicate_address")
def check_address_is_unique(node: Node, peers: Peers) -> None:
    """Two names for one machine are one host counted twice: its ranks fight over the same GPUs and ports.

    Do: remove one of the two from the inventory, or correct its address.
    $ getent ahosts {node}
    """
    same = node.agent.same_machine_as
    if same:
        *names, last = sorted((node.name, *same))[:SHOWN]
        found = f"{', '.join(names)} and {last} are the same machine: their agents met there"
        raise AssertionError(finding(found, "a machine of its own"))
    twins = peers.by(address).twins(node)
    found = f"{node.address} is also the address of {', '.join(twins[:SHOWN])}"
    assert not twins, finding(found, "an address of its own")


def address(node: Node) -> tuple[str, str]:
    """Several ports of one address may be several containers, so the hostname counts too."""
    return node.address, node.hostname.name


LEAVING = ("physical", "infiniband", "bond", "vlan", "bridge", "veth")
"""Kinds of interface whose addresses others dial; a bridge only where it is none that a container engine made."""


def holders(cluster: Snapshot) -> dict[str, list[str]]:
    """Address -> the nodes that hold it on an interface that leaves them; what nearly all hold is a convention."""
    found: dict[str, list[str]] = {}
    known = [node for node in cluster.nodes if is_known(node, "interfaces")]
    for node in known:
        for own in dialable(node):
            found.setdefault(own, []).append(node.name)
    return {own: names for own, names in found.items() if not conventional(len(names), len(known))}


def others(names: list[str], node: Node) -> str:
    """``gpu03, gpu04 and 5 more``"""
    return listed([name for name in names if name != node.name])


def dialable(node: Node) -> set[str]:
    leaving = [one for one in node.interfaces if one.kind in LEAVING and not one.virtual_bridge]
    return {own for one in leaving if one.state in CARRYING for own in addresses(one) if not is_local_only(own)}


@dialled
@pytest.mark.needs("check_address_is_unique")
@pytest.mark.cause("duplicate_address")
def check_no_other_node_holds_its_addresses(node: Node, peers: Peers) -> None:
    """Of two machines with one address now the one and now the other answers: connections break, and nobody is down.

    Do: take the address away from one of the two.
    $ ssh {node} ip -brief address
    """
    twice = {own: names for own in sorted(dialable(node)) if len(names := peers.once(holders).get(own, [])) > 1}
    rows = [f"{own} is also held by {others(names, node)}" for own, names in twice.items()]
    assert not rows, finding("; ".join(rows[:SHOWN]), "addresses of its own")


@pytest.mark.needs("check_address_is_unique")
@pytest.mark.cause("duplicate_host_identity")
def check_host_identity_is_unique(node: Node, peers: Peers) -> None:
    """NCCL takes ranks with the same hostname and boot id for one host, and tries shared memory between them.

    Do: give each container its own hostname, or set NCCL_HOSTID to something different on each.
    $ ssh {node} 'hostname; cat /proc/sys/kernel/random/boot_id'
    """
    twins = peers.by(identity).twins(node)
    found = f"hostname {node.hostname.name} and boot id are those of {', '.join(twins[:SHOWN])} too"
    assert not twins, finding(found, "a hostname of its own")


def identity(node: Node) -> tuple[str, str]:
    return node.hostname.name, node.system.boot_id
