"""What two machines with soft-RoCE said, healthy and with each fault on the second: read, judged, and the fault named.

Recorded by ``python -m tests.rdma.record``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from diag import probes
from diag.facts.node import Node, Reach
from diag.facts.snapshot import SCHEMA, Controller, Snapshot
from diag.judge import judge
from diag.probes.perftest import NothingCame, Result, Trial, result
from diag.probes.perftest_failures import Ended, Failure, failure, nothing_came
from diag.probes.verbs import Answer
from tests.rdma.cases import CASES
from tests.rdma.meeting import TOPICS

FOLDER = Path(__file__).parents[1] / "data" / "rdma" / "vm"
NEVER_RUN = {"link known to be down", "no tool, known"}


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    case: str
    trial: Trial
    seconds: float
    client: Ended
    server: Ended


PAIRS = msgspec.json.decode((FOLDER / "pairs.json").read_bytes(), type=list[Recorded])
FACTS = msgspec.json.decode((FOLDER / "facts.json").read_bytes(), type=dict[str, dict[str, tuple[Answer, ...]]])


def said(run: Recorded) -> Failure | Result:
    wrong = failure(run.trial, run.client, run.server, run.seconds, ethernet=True)
    if wrong is not None:
        return wrong
    try:
        return result(run.trial, run.client.text)
    except NothingCame as error:
        return nothing_came(error, ethernet=True)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_run_of_perftest_means_what_its_case_says(case):
    runs = [run for run in PAIRS if run.case == case.name]
    assert len(runs) == (0 if case.name in NEVER_RUN else 1 if case.trial.of_latency else 2)
    for run in runs:
        found = said(run)
        if case.says:
            assert isinstance(found, Failure)
            assert case.says in found.why
            assert found.cause == case.cause
        else:
            assert isinstance(found, Result)
            assert (found.latency_s if case.trial.of_latency else found.bytes_per_s) > 0


def nodes(fault: str) -> tuple[Node, ...]:
    def node(name: str, answers: tuple[Answer, ...]) -> Node:
        facts = {topic: fact for topic, fact in probes.facts_from(answers).items() if topic in TOPICS}
        return msgspec.structs.replace(Node(name=name, address=name, reach=Reach(outcome="answered")), **facts)

    return tuple(node(name, answers) for name, answers in FACTS[fault].items())


@pytest.mark.parametrize(
    ("fault", "fact", "of_first", "of_second"),
    [
        ("healthy", lambda node: node.hcas[0].ports[0].state, "active", "active"),
        ("healthy", lambda node: node.hcas[0].ports[0].mtu_active_bytes, 1024, 1024),
        ("healthy", lambda node: {gid.kind for gid in node.hcas[0].ports[0].gids}, {"roce_v2"}, {"roce_v2"}),
        ("healthy", lambda node: node.rdma_system.rdma_core, "44.0", "44.0"),
        ("link_down", lambda node: node.hcas[0].ports[0].state, "active", "down"),
        ("large_mtu", lambda node: node.hcas[0].ports[0].mtu_active_bytes, 1024, 4096),
        ("no_tools", lambda node: node.rdma_system.perftest is None, False, True),
        ("plain_memlock", lambda node: node.limits.memlock_hard_bytes, None, 64 << 10),
        ("no_permission", lambda node: node.hcas[0].permitted, True, False),
    ],
)
def test_a_fact_is_read_on_the_machine_with_the_fault_and_on_the_other(fault: str, fact: Any, of_first, of_second):
    assert [fact(node) for node in nodes(fault)] == [of_first, of_second]


SMALL_MTU = "roce_mtu_is_the_highest"
"""Advice wherever an interface has an MTU of 1500."""
NAMED = {
    "healthy": set(),
    "no_tools": set(),
    "link_down": {("port_has_a_link", "node2"), ("interface_with_an_address_is_up", "node2")},
    "plain_memlock": {("memlock_is_unlimited_where_there_is_rdma", "node2")},
    "no_permission": {("rdma_devices_may_be_opened", "node2")},
    "large_mtu": {("rdma_mtu_is_the_same_on_all_nodes", node) for node in ("node1", "node2")},
}


@pytest.mark.parametrize("fault", NAMED)
def test_the_machine_with_the_fault_is_called_wrong_and_the_other_is_not(fault: str):
    """Of two that differ neither is the majority: both are named."""
    about = {"schema": SCHEMA, "taken_at": "2026-01-01T00:00:00Z", "run_id": "r", "level": "passive"}
    controller = Controller(hostname="here", diag="0", python="3")
    verdicts = judge(Snapshot(**about, controller=controller, nodes=nodes(fault))).verdicts
    wrong = {(one.check, one.node) for one in verdicts if one.outcome in {"failed", "advice", "broken"}}
    assert {(check, node) for check, node in wrong if check != SMALL_MTU} == NAMED[fault]
