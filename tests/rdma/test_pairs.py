"""Do pair tests by RDMA measure what is healthy, name what is not, and end and reap both ends whatever happens?"""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from diag.facts.links import Flow
from diag.facts.record import Missing, peek
from tests.rdma import faults
from tests.rdma.cases import CASES, Case, told
from tests.rdma.guests import ROOT
from tests.rdma.meeting import Meeting

pytestmark = pytest.mark.rdma
OURS = [case for case in CASES if case.user == ROOT]
HEALTHY = [case for case in OURS if not case.says]
ILL = [case for case in OURS if case.says]


@pytest.fixture(scope="module")
def meeting(session_guests):
    both = Meeting(session_guests)
    yield both
    both.end()


@pytest.fixture(scope="module")
def healthy_nodes(meeting):
    return meeting.nodes()


@pytest.fixture(scope="module")
def before(session_guests, meeting):  # noqa: ARG001 - with the agents there
    return session_guests.look()


@pytest.fixture
def leaves_nothing(guests, before):
    """As everywhere, but that each test is compared with the start: a look costs a second."""

    @contextmanager
    def watch():
        yield
        left = guests.left_since(before)
        assert not left, "left behind:\n" + "\n".join(left)

    return watch


def measured(flow: Flow) -> object:
    return peek(flow, "latency_s" if flow.method.endswith("_lat") else "bytes_per_s")


def assert_is_as_expected(case: Case, flows: tuple[Flow, ...]) -> None:
    ways = [("node1", "node2")] if case.trial.of_latency else [("node1", "node2"), ("node2", "node1")]
    assert [(flow.source, flow.target, flow.rail) for flow in flows] == [(*way, "rxe0") for way in ways]
    for flow in flows:
        found = measured(flow)
        assert flow.cause == case.cause, found
        if case.says:
            assert isinstance(found, Missing)
            assert case.says in found.why
        else:
            assert isinstance(found, float)
            assert found > 0


@pytest.mark.parametrize("case", HEALTHY, ids=str)
def test_what_is_healthy_is_measured_and_nobody_blamed(guests, meeting, healthy_nodes, leaves_nothing, case):
    with leaves_nothing():
        nodes = healthy_nodes
        if case.fault:
            faults.plant(guests.both[1], case.fault)
            nodes = meeting.nodes()
        flows = meeting.measure(case.trial, nodes, case.deadline_s)
        guests.heal()
    assert_is_as_expected(case, flows)


@pytest.mark.parametrize("case", ILL, ids=str)
def test_a_fault_is_named_and_both_ends_are_reaped(guests, meeting, healthy_nodes, leaves_nothing, case):
    with leaves_nothing():
        if case.fault:
            faults.plant(guests.both[1], case.fault)
        nodes = meeting.nodes() if case.known else healthy_nodes
        flows = meeting.measure(case.trial, told(case, nodes), case.deadline_s)
        guests.heal()
    assert_is_as_expected(case, flows)
