"""Do the links between the nodes carry what they should: packets of full size, on every port, as fast as the others?"""

import pytest

from diag.facts.derived import Link, data_interface, several_nodes
from diag.facts.links import Background, ClosedPorts
from diag.facts.node import Node
from diag.facts.record import NotMeasured
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import finding
from diag.units import gbit_per_s

BUSY_SHARE = 0.05
"""Of the line rate: what others send beyond that is felt by a collective, and falsifies what is measured."""
BUSY_BYTES_PER_S = 0.05 * 10e9 / 8
"""The same of 10 Gbit/s, where a driver does not know its rate."""
SHOWN = 4

several = pytest.mark.applies(several_nodes, reason="one node: it has no link to another")
active = pytest.mark.applies(lambda cluster: cluster.level != "passive", reason="level passive loads no link")
measured = pytest.mark.applies(
    lambda link: link.flow is not None, reason="only that it carries data was tried, not measured"
)


@several
@active
@measured
@pytest.mark.needs("check_link_carries_data", "check_named_interface_exists")
@pytest.mark.cause("mtu_mismatch")
def check_path_passes_full_packets(link: Link, node: Node, cluster: Snapshot) -> None:
    """A switch with a smaller MTU drops full packets silently: logins work, and the first large transfer hangs.

    Do: set one MTU on both nodes and on every switch port between them.
    $ ssh {node} ip -brief link
    """
    interface = data_interface(node, cluster)
    passes = link.measured.path_mtu_bytes
    found = f"packets of {passes} bytes pass to {link.target}, larger ones do not"
    assert passes >= interface.mtu_bytes, finding(found, f"{interface.mtu_bytes} bytes, the MTU of {interface.name}")


def closed_for(node: Node, cluster: Snapshot) -> list[ClosedPorts]:
    """What is closed at this node, or for it. Raises NotMeasured where nobody knocked, or it took no part."""
    if node.name not in cluster.links.nodes:
        raise NotMeasured(dict(cluster.links.excluded).get(node.name, "took no part"))
    return [row for row in cluster.links.ports.closed if blamed(node, row)]


def blamed(node: Node, row: ClosedPorts) -> bool:
    """Closed at few nodes for many: theirs. Closed for few nodes at many: theirs. Else both ends have it."""
    at, by = node.name in row.targets, node.name in row.sources
    few_targets, few_sources = len(row.targets) < len(row.sources), len(row.sources) < len(row.targets)
    return (at and not few_sources) or (by and not few_targets)


def told(row: ClosedPorts, node: Node) -> str:
    ports = ", ".join(map(str, row.ports[:SHOWN])) + (
        f" and {len(row.ports) - SHOWN} more" if row.ports[SHOWN:] else ""
    )
    at = node.name in row.targets
    others = row.sources if at else row.targets
    names = ", ".join(others[:SHOWN]) + (f" and {len(others) - SHOWN} more" if others[SHOWN:] else "")
    whom = f"closed to {names}" if at else f"of {names} closed to it"
    return f"ports {ports} {whom}: {row.why} ({row.error})"


@several
@active
@pytest.mark.cause("firewall_blocks_ports")
def check_ports_are_open_between_nodes(node: Node, cluster: Snapshot) -> None:
    """Rendezvous, Ray, NCCL and GLOO connect on these ports; ping passes a firewall that stops every one of them.

    Do: open all TCP ports between the nodes' data addresses, in the host's firewall and the security group.
    $ ssh {node} 'nft list ruleset; iptables -S'
    """
    closed = closed_for(node, cluster)
    found = "; ".join(told(row, node) for row in closed[:2]) + (f"; and {len(closed) - 2} more" if closed[2:] else "")
    assert not closed, finding(found, "every port between all nodes")


def background(node: Node, cluster: Snapshot) -> Background:
    for row in cluster.links.background:
        if row.node == node.name:
            return row
    raise NotMeasured(dict(cluster.links.excluded).get(node.name, "took no part"))


@several
@active
@pytest.mark.advice
def check_nobody_else_uses_the_data_link(node: Node, cluster: Snapshot) -> None:
    """What others send there is missing in every collective, and what was measured beside it is less than the link has.

    Do: find who sends, or measure again when it is quiet.
    $ ssh {node} 'ss -tn state established'
    """
    row = background(node, cluster)
    limit = BUSY_SHARE * row.line_bytes_per_s if row.line_bytes_per_s else BUSY_BYTES_PER_S
    found = f"{row.interface} carries {gbit_per_s(row.bytes_per_s)} of others"
    assert row.bytes_per_s <= limit, finding(found, f"at most {gbit_per_s(limit)}")
