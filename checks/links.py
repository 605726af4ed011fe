"""Do the links between the nodes carry what they should: packets of full size, on every port, as fast as the others?"""

from contextlib import suppress

import pytest

from diag.facts.closed import at_fault, between
from diag.facts.closed import told as told_between
from diag.facts.derived import Link, data_interface, loads, pairs_wanted, several_nodes
from diag.facts.links import Background, ClosedPorts
from diag.facts.network import Interface
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.record import Missing, NotMeasured, peek
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import finding, listed
from diag.localise import Suspect, suspects
from diag.units import gbit_per_s

NONE = "--pairs none"


def why_not(cluster: Snapshot) -> str:
    """Of links that were not measured; empty: they were."""
    links = peek(cluster, "links")
    return links.why if isinstance(links, Missing) else ""


several = pytest.mark.applies(several_nodes, reason="one node: it has no link to another")
active = pytest.mark.asked(loads, reason="level passive loads no link")
wanted = pytest.mark.asked(pairs_wanted, reason="--pairs none: no link was measured")
measured = pytest.mark.applies(
    lambda link, cluster: link.flow is not None or not cluster.links.flows, reason="not among the pairs measured"
)


def data_interfaces(cluster: Snapshot) -> dict[str, Interface]:
    found: dict[str, Interface] = {}
    for node in cluster.nodes:
        with suppress(NotMeasured):
            found[node.name] = data_interface(node, cluster)
    return found


@several
@active
@wanted
@measured
@pytest.mark.needs("check_link_carries_data", "check_named_interface_exists")
@pytest.mark.cause("mtu_mismatch")
def check_path_passes_full_packets(link: Link, node: Node, cluster: Snapshot, peers: Peers) -> None:
    """A switch with a smaller MTU drops full packets silently: logins work, and the first large transfer hangs.

    Do: set one MTU on both nodes and on every switch port between them.
    $ ssh {node} ip -brief link
    """
    data_interface(node, cluster)  # raises where it is not known
    ends = [peers.once(data_interfaces).get(name) for name in (node.name, link.target)]
    known = [end for end in ends if end is not None]
    smaller = min(known, key=lambda interface: interface.mtu_bytes)  # that they differ is for another check to say
    passes = link.measured.path_mtu_bytes
    found = f"packets of {passes} bytes pass to {link.target}, larger ones do not"
    assert passes >= smaller.mtu_bytes, finding(found, f"{smaller.mtu_bytes} bytes, the MTU of {smaller.name}")


def slow_flows(cluster: Snapshot) -> dict[tuple[str, str], Suspect]:
    """Direction -> the first suspect for which it speaks; of those that carry too little, not of those that failed."""
    links = cluster.links
    found: dict[tuple[str, str], Suspect] = {}
    for suspect in suspects(links.nodes, links.flows, groups=cluster.leaves):
        for way in suspect.evidence if suspect.found_bytes_per_s else ():
            source, _, target = way.partition(">")
            found.setdefault((source, target), suspect)
    return found


def told_of(suspect: Suspect) -> tuple[str, str]:
    """What is found and expected: the same for all links that one suspect slows, so that they are told together."""
    found, usual = suspect.found_bytes_per_s, suspect.expected_bytes_per_s
    rail = f" by {suspect.rail}" if suspect.rail else ""
    between = " between" if suspect.kind == "unclear" else ""
    whom = {"direction": ">", "link": "-"}.get(suspect.kind, ", ").join(suspect.nodes)
    rate = gbit_per_s(found) if found else "nothing"
    return f"{rate} through{between} {whom}{rail}", f"{gbit_per_s(usual)} ({suspect.referee})" if usual else "more"


@several
@active
@wanted
@measured
@pytest.mark.needs("check_link_carries_data")
def check_link_is_as_fast_as_the_others(link: Link, peers: Peers) -> None:
    """A ring moves at the pace of its slowest link: one cable, port or NIC slows every collective of the cluster.

    Do: see the culprits: they tell the node from the link; look at its cable, transceiver, port and driver.
    $ ssh {node} 'ip -s -brief link; dmesg | grep -i "link is" | tail'
    """
    link.measured.bytes_per_s  # noqa: B018 - raises where it is not known
    suspect = peers.once(slow_flows).get((link.source, link.target))
    if suspect is not None and suspect.kind == "unclear" and suspect.expected_bytes_per_s is None:
        raise NotMeasured(suspect.why)
    assert suspect is None, finding(*(told_of(suspect) if suspect else ("", "")))


def closed_for(node: Node, cluster: Snapshot, peers: Peers) -> list[str]:
    """What is closed at this node, or for it, in words. Raises NotMeasured where nobody knocked, or it took no part."""
    links = cluster.links
    if node.name not in links.knocking:
        raise NotMeasured({**dict(links.ports.not_tried), **dict(links.excluded)}.get(node.name, "took no part"))
    return peers.once(closed_ports).get(node.name, [])


def closed_ports(cluster: Snapshot) -> dict[str, list[str]]:
    """Node -> what is closed because of it; of a pair of which nobody knows whose it is, both ends say the same."""
    guilty, found = at_fault(cluster.links), dict[str, list[str]]()
    for row in cluster.links.ports.closed:
        for name in guilty.intersection((*row.sources, *row.targets)):
            found.setdefault(name, []).append(told(row, name))
    for row in between(cluster.links):
        for name in dict.fromkeys((*row.sources, *row.targets)):
            found.setdefault(name, []).append(told_between(row))
    return found


def told(row: ClosedPorts, name: str) -> str:
    whom = f"closed to {listed(row.sources)}" if name in row.targets else f"of {listed(row.targets)} closed to it"
    return f"ports {listed(row.ports)} {whom}: {row.why} ({row.error})"


@several
@active
@wanted
@pytest.mark.needs("check_no_other_node_holds_its_addresses")
@pytest.mark.cause("firewall_blocks_ports")
def check_ports_are_open_between_nodes(node: Node, cluster: Snapshot, peers: Peers) -> None:
    """Rendezvous, Ray, NCCL and GLOO connect on these ports; ping passes a firewall that stops every one of them.

    Do: open all TCP ports between the nodes' data addresses, in the host's firewall and the security group.
    $ ssh {node} 'nft list ruleset; iptables -S'
    """
    closed = closed_for(node, cluster, peers)
    found = "; ".join(closed[:2]) + (f"; and {len(closed) - 2} more" if closed[2:] else "")
    assert not closed, finding(found, "every port between all nodes")


def background(node: Node, cluster: Snapshot) -> Background:
    rows = [row for row in cluster.links.background if row.node == node.name]
    if rows:
        return next((row for row in rows if row.why_busy), rows[0])
    raise NotMeasured(dict(cluster.links.excluded).get(node.name, "took no part"))


@several
@active
@wanted
@pytest.mark.advice
def check_nobody_else_uses_the_data_link(node: Node, cluster: Snapshot) -> None:
    """What others send there is missing in every collective, and what was measured beside it is less than the link has.

    Do: find who sends, or measure again when it is quiet.
    $ ssh {node} 'ss -tn state established'
    """
    row = background(node, cluster)
    found = f"{row.interface} carries {gbit_per_s(row.bytes_per_s)} of others"
    assert not row.why_busy, finding(found, f"at most {gbit_per_s(row.limit_bytes_per_s)}")
