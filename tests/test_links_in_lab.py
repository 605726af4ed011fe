"""Is the culprit between sixteen hosts named, with its cause, and beside it nobody? By the agents' own TCP.

One standing set of hosts at 200 Mbit/s, two cores carry no more; their links are reshaped between the cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from diag import judge, sweeping
from diag.facts.links import Links
from diag.facts.node import Node
from diag.facts.record import unknown
from diag.facts.snapshot import SCHEMA, Controller, Snapshot
from diag.facts.verdict import Culprit
from diag.remote.session import Session
from tests.lab.cluster import Lab
from tests.remote.jobs import facts, lab_sessions

pytestmark = [pytest.mark.lab, pytest.mark.beside, pytest.mark.timeout(300)]

HOSTS, RATE = 16, "200mbit"


class Standing(msgspec.Struct):
    lab: Lab
    sessions: dict[str, Session]
    healthy: list[Node]


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    lab = Lab.up(HOSTS, rate=RATE)
    try:
        with lab_sessions(lab) as sessions:
            yield Standing(lab, sessions, facts(sessions))
    finally:
        lab.down()


@pytest.fixture(autouse=True)
def healed(standing) -> Iterator[None]:
    yield
    standing.lab.heal()


def swept(standing: Standing, nodes: list[Node] | None = None, mode: str = "ring") -> Links:
    order = sweeping.Order(mode=mode, level="normal", limit_s=60)
    return sweeping.Sweep(standing.sessions, nodes or standing.healthy, order).measure()


def culprits(standing: Standing, nodes: list[Node] | None = None) -> dict[str, tuple[str, ...]]:
    """Cause -> nodes, of one sweep with the checks that are about links."""
    return {culprit.cause: culprit.nodes for culprit in judged(standing, nodes)}


def judged(standing: Standing, nodes: list[Node] | None = None) -> tuple[Culprit, ...]:
    nodes = nodes or standing.healthy
    snapshot = Snapshot(
        schema=SCHEMA,
        taken_at="2026-11-21T08:00:00+00:00",
        run_id="0123456789ab",
        level="quick",
        controller=Controller(hostname="here", python="3.11", diag="0"),
        nodes=tuple(nodes),
        links=swept(standing, nodes),
        collective=unknown("not part of this test"),
    )
    return judge.judge(
        snapshot, keyword="link or packets or ports_are_open or mtu or addresses or hostname_is_not or socket"
    ).culprits


def slow_link(standing: Standing, one: int, other: int, rate: str) -> None:
    a, b = standing.lab.hosts[one], standing.lab.hosts[other]
    a.slow_towards(b, rate)
    b.slow_towards(a, rate)


def test_sixteen_healthy_hosts_are_measured_in_two_rounds_and_nobody_is_named(standing):
    assert judged(standing) == ()
    links = swept(standing)
    assert [(row.why, row.pairs) for row in links.rounds[:2]] == [("ring 1/2", 8), ("ring 2/2", 8)]
    assert len({(flow.source, flow.target) for flow in links.flows if flow.round <= 2}) == 32
    assert all(20e6 < flow.bytes_per_s < 25.1e6 for flow in links.flows)
    assert all(flow.path_mtu_bytes == 1500 for flow in links.flows)
    used = len(links.ports.not_tried)  # ephemeral ones, by chance
    assert used < 4
    assert links.ports.tried >= (HOSTS * len(links.ports.ports) - used) * (HOSTS - 1)
    assert links.ports.closed == ()
    assert (links.excluded, links.left_out, links.stopped) == ((), (), "")


Plant = Callable[[Standing], object]

CASES: dict[str, tuple[Plant, dict[str, tuple[str, ...]]]] = {
    "a node at a tenth": (lambda s: s.lab.hosts[5].set_rate("20mbit"), {"node_slow": ("n005",)}),
    "a node at half": (lambda s: s.lab.hosts[0].set_rate("100mbit"), {"node_slow": ("n000",)}),
    "a node at 0.8": (lambda s: s.lab.hosts[11].set_rate("160mbit"), {"node_slow": ("n011",)}),
    "a link": (lambda s: slow_link(s, 3, 4, "60mbit"), {"link_slow": ("n003", "n004")}),
    "one direction": (
        lambda s: s.lab.hosts[8].slow_towards(s.lab.hosts[9], "60mbit"),
        {"link_direction_slow": ("n008", "n009")},
    ),
    "two nodes": (
        lambda s: [s.lab.hosts[n].set_rate("80mbit") for n in (5, 11)],
        {"node_slow": ("n005", "n011")},
    ),
    "two neighbours": (
        lambda s: [s.lab.hosts[n].set_rate("80mbit") for n in (5, 6)],
        {"node_slow": ("n005", "n006")},
    ),
    "filtered ports": (
        lambda s: s.lab.hosts[7].drop_ports(33000, 60999),
        {"firewall_blocks_ports": ("n007",)},
    ),
    "a path that drops full packets": (
        lambda s: s.lab.hosts[13].drop_bigger_than(1400),
        {"mtu_mismatch": ("n013",)},
    ),
}


FACTS: dict[str, tuple[Plant, dict[str, tuple[str, ...]]]] = {
    "an interface with a smaller MTU": (lambda s: s.lab.hosts[9].set_mtu(1400), {"mtu_mismatch": ("n009",)}),
    "an address that another holds": (
        lambda s: s.lab.hosts[4].add_address(s.lab.hosts[12].address),
        {"duplicate_address": ("n004", "n012")},
    ),
    "a bridge with the same address on every node": (
        lambda s: [host.add_bridge("docker0", "172.17.0.1/16") for host in s.lab.hosts],
        {},
    ),
    "a wrong interface in NCCL_SOCKET_IFNAME": (
        lambda s: [
            *(host.add_bridge("br-own", f"10.99.{place}.1/24") for place, host in enumerate(s.lab.hosts)),
            s.lab.hosts[6].set_for_nccl("NCCL_SOCKET_IFNAME", "br-own"),
        ],
        {"nccl_socket_ifname_wrong": ("n006",)},
    ),
    "a name that is a loopback address": (
        lambda s: s.lab.hosts[3].name_itself("127.0.1.1"),
        {"gloo_hostname_loopback": ("n003",)},
    ),
}


@pytest.mark.parametrize("case", FACTS)
def test_what_the_facts_show_is_named_beside_links_that_carry_data(standing, case):
    plant, expected = FACTS[case]
    plant(standing)
    assert culprits(standing, facts(standing.sessions)) == expected


@pytest.mark.parametrize("case", CASES)
def test_the_culprit_is_named_alone_and_with_its_cause(standing, case):
    plant, expected = CASES[case]
    plant(standing)
    assert culprits(standing) == expected


def test_a_refused_direction_is_of_the_link_and_of_neither_end_for_sure(standing):
    standing.lab.hosts[2].refuse_from(standing.lab.hosts[1])
    (culprit,) = judged(standing)
    assert (culprit.kind, culprit.nodes, culprit.cause) == ("link", ("n001", "n002"), "firewall_blocks_ports")
    assert culprit.summary.startswith("n001 > n002: ports ")
    assert culprit.confidence < 0.9
