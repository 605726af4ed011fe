"""Do the nodes exchange data, and did the all-reduce come through, right and at the rate that its links allow?"""

import pytest

from diag.facts.collective import Collective, Rank
from diag.facts.derived import Link, data_interface, hcas, loads, several_nodes
from diag.facts.links import Flow
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.record import NotMeasured, is_known, peek
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import finding
from diag.units import gbit_per_s, seconds, size

LINE_SHARE = 0.5
"""Half the line rate: headers take 5 %, a shared or busy link more; below it something else than the link decides."""
GLOO_CEILING_BYTES_PER_S = 2e9 / 8
"""GLOO copies and adds on one CPU core; a link faster than 2 Gbit/s says nothing about what it should reach."""
WITH_SPEED = ("physical", "bond")
"""Kinds of interface whose driver knows the rate of the wire."""

active = pytest.mark.asked(loads, reason="level passive starts no collective")


def carries_nothing(flow: Flow) -> str:
    """Why, or empty. Raises NotMeasured where it was not tried."""
    if is_known(flow, "bytes_per_s"):
        return ""
    why: str = peek(flow, "bytes_per_s").why
    if not flow.cause:
        raise NotMeasured(why)
    return why


@active
def check_link_carries_data(link: Link) -> None:
    """Ranks dial each other on ports that nobody knows before; a firewall or a path that loses big packets stops all.

    Do: open all TCP ports between the nodes' data addresses, and set one MTU along the path.
    $ ssh {node} 'nft list ruleset; iptables -S; ip -brief link'
    """
    why = carries_nothing(link.flow) if link.flow is not None else ""
    assert not why, finding(why, "data on any port, in packets of any size")
    blocked = link.blocked
    where = f"{link.source} cannot {blocked.step} with {link.target} at {blocked.address}" if blocked else ""
    found = f"{where}: {blocked.why}" if blocked else ""
    assert blocked is None, finding(found, "64 KiB each way, on any port")


def took_part(ranks: tuple[Rank, ...], node: Node, collective: Collective) -> tuple[Rank, ...]:
    """The node's ranks. Raises NotMeasured where the node was left out, with the reason."""
    if not ranks:
        raise NotMeasured(f"took no part: {dict(collective.excluded).get(node.name, 'no rank of its own')}")
    return ranks


def ended(rank: Rank) -> str:
    how = rank.outcome.removeprefix("rank_").replace("_", " ")
    phase, at_s = rank.phases[-1] if rank.phases else ("", 0.0)
    place = f"after {phase} at {seconds(at_s)}" if phase else "before it reported anything"
    return f"rank {rank.rank} {how} {place}{': ' + rank.said if rank.said else ''}"


@active
def check_every_rank_comes_through(node: Node, cluster: Snapshot, peers: Peers) -> None:
    """One rank that is missing, frozen or dead stops all of them; torch itself mostly does not say which.

    Do: look at this node first: its log, memory, disk and network at that time.
    $ ssh {node} 'uptime; dmesg | tail -20'
    """
    own = took_part(peers.ranks(node), node, cluster.collective)
    lost = [rank for rank in own if rank.guilty]
    if not lost and cluster.collective.stopped:
        raise NotMeasured(f"we ended it: {cluster.collective.stopped}")
    if not lost and own[0].outcome == "stopped":
        raise NotMeasured(f"stopped when others did not come through: {cluster.collective.summary}")
    found = "; ".join(ended(rank) for rank in lost[:2]) + (f"; {len(lost) - 2} more" if len(lost) > 2 else "")
    cited = f"; {cluster.collective.cited}" if cluster.collective.cited else ""
    assert not lost, finding(found + cited, "every rank done")


@active
def check_collective_finishes(cluster: Snapshot) -> None:
    """What did not come to its end in a preflight will not in an engine either.

    Do: look at what the ranks said last (diag evidence collective), or run it again with more time.
    $ diag run {hosts} --deadline collectives=300
    """
    collective = cluster.collective
    if collective.guilty or (collective.blocked and not collective.nodes):
        raise NotMeasured(f"ended by what failed on a node: {collective.summary}")
    cited = f"; {collective.cited}" if collective.cited else ""
    found = (collective.summary or "it did not finish") + cited
    if collective.stopped:
        raise NotMeasured(f"we ended it: {collective.stopped}")
    assert collective.finished, finding(found, "all sizes, within the deadline")


@active
def check_sums_are_right(cluster: Snapshot) -> None:
    """A wrong sum is silent corruption: memory, PCIe or a link changes data, and every answer of the model with it.

    Do: halve the set of nodes until the wrong sums stay with one of them, and drain it.
    $ diag run --level normal --hosts HALF_OF_THEM
    """
    wrong = [size(step.size_bytes) for step in cluster.collective.steps if not step.verified]
    assert not wrong, finding(f"wrong sums at {', '.join(wrong)}", "the sum of all ranks at every size")
    if not cluster.collective.steps or not cluster.collective.finished:
        raise NotMeasured(f"not at every size: {cluster.collective.summary}")


@active
@pytest.mark.optional
@pytest.mark.applies(lambda cluster: cluster.gloo is not None, reason="the all-reduce itself was GLOO's")
@pytest.mark.needs("check_collective_finishes")
def check_gloo_works_beside_nccl(cluster: Snapshot) -> None:
    """Engines keep groups of GLOO beside NCCL's; it goes over TCP, on an interface and ports of its own.

    Do: name its interface with GLOO_SOCKET_IFNAME, exactly and without "=", and open the ports between the nodes.
    $ ssh {node} 'env | grep GLOO; ip -brief address'
    """
    gloo = cluster.gloo
    assert gloo is not None, "it applies only where there is one"
    if gloo.stopped:
        raise NotMeasured(f"we ended it: {gloo.stopped}")
    cited = f"; {gloo.cited}" if gloo.cited else ""
    assert gloo.finished, finding((gloo.summary or "it did not finish") + cited, "all sizes, within the deadline")
    wrong = [size(step.size_bytes) for step in gloo.steps if not step.verified]
    assert not wrong, finding(f"wrong sums at {', '.join(wrong)}", "the sum of all ranks at every size")


def crosses_ethernet_only(cluster: Snapshot) -> bool:
    """NCCL takes HCAs where there are any; what those should reach is not known from the interface."""
    return not any(hcas(node) for node in taking_part(cluster))


def taking_part(cluster: Snapshot) -> list[Node]:
    return [node for node in cluster.nodes if node.name in cluster.collective.nodes]


def line_rate(cluster: Snapshot) -> float:
    """Bytes per second of the slowest data link. Raises NotMeasured where a driver does not know its rate."""
    links = [data_interface(node, cluster) for node in taking_part(cluster)]
    unknown = [link.name for link in links if link.kind not in WITH_SPEED or link.speed_bits_per_s is None]
    if unknown:
        raise NotMeasured(f"the rate of {unknown[0]} is not known to its driver")
    return min((link.speed_bits_per_s or 0) / 8 for link in links)


@active
@pytest.mark.optional
@pytest.mark.applies(several_nodes, reason="one node: no link is crossed")
@pytest.mark.applies(crosses_ethernet_only, reason="NCCL takes the HCAs, not this link")
@pytest.mark.needs("check_sums_are_right")
@pytest.mark.cause("link_slow")
def check_busbw_is_near_line_rate(cluster: Snapshot) -> None:
    """A ring moves at the rate of its slowest link; far below the line rate a cable, a port or a duplex is wrong.

    Do: measure the links pair by pair.
    $ iperf3 -c ONE_OF_THEM -t 5
    """
    if not cluster.collective.steps:
        raise NotMeasured("no size was measured")
    largest = max(cluster.collective.steps, key=lambda step: step.size_bytes)
    line = line_rate(cluster)
    reachable = min(line, GLOO_CEILING_BYTES_PER_S) if cluster.collective.backend == "gloo" else line
    found = f"busbw {gbit_per_s(largest.busbw_bytes_per_s)} at {size(largest.size_bytes)}"
    expected = f"at least {gbit_per_s(LINE_SHARE * reachable)}: half of what a link of {gbit_per_s(line)} allows"
    assert largest.busbw_bytes_per_s >= LINE_SHARE * reachable, finding(found, expected)
