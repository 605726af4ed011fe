"""What does the page say of the links between nodes?"""

from __future__ import annotations

import msgspec

from diag.facts.record import Missing
from diag.report.links import link_texts
from tests.checks.changes import having, item, more, of_cluster
from tests.checks.healthy import cpu_cluster
from tests.checks.pairs.links import closed, flow


def texts(change=lambda cluster: cluster, nodes: int = 4) -> list[str]:
    return list(link_texts(change(cpu_cluster(nodes))))


def test_healthy_links_have_their_median_and_what_was_not_looked_at():
    assert texts() == [
        "links over TCP: 8 directions, 0.94 Gbit/s (median); half a round trip 24 µs",
        "2 of 6 pairs of nodes were not measured: --pairs all measures them",
        "60 connections to 5 ports: all open",
    ]


def test_the_slowest_direction_is_named_where_it_is_far_from_the_others():
    slow = of_cluster(links=having(flows=item(flow("node2", "node3"), having(bytes_per_s=2e7))))
    assert "the slowest node2 > node3 0.16 Gbit/s" in texts(slow)[0]


def test_a_direction_that_was_repeated_counts_once_with_its_median():
    def repeated(flows):
        stalled = [msgspec.structs.replace(each, bytes_per_s=1e5) for each in flows if each.source == "node2"]
        return (*flows, *flows, *stalled)

    assert texts(of_cluster(links=having(flows=repeated)))[0] == texts()[0]


def test_what_carries_nothing_is_counted_with_its_reason():
    refused = Missing("node2 cannot connect to node3: refused")
    dead = having(bytes_per_s=refused, latency_s=Missing("not met"), cause="firewall_blocks_ports")
    told = texts(of_cluster(links=having(flows=item(flow("node2", "node3"), dead))))[0]
    assert "1 carried nothing: node2 cannot connect to node3: refused" in told


def test_closed_ports_and_what_was_left_out_are_counted():
    left_out = of_cluster(links=having(left_out=more(("3 pairs of all 2/3", "--max-pairs 3"))))
    told = texts(lambda cluster: left_out(closed(("node1",), ("node2", "node3"), 29500, 8000)(cluster)))
    assert told[2:] == ["60 connections to 5 ports: 4 failed", "not measured: 3 pairs of all 2/3: --max-pairs 3"]


def test_where_no_link_was_measured_nothing_is_said():
    assert texts(of_cluster(links=Missing("--pairs none"))) == []
    assert texts(nodes=1) == []
