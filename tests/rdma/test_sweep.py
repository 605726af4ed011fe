"""Does a whole run measure rails beside TCP, and blame a filter for what perftest itself calls a success?"""

from __future__ import annotations

from pathlib import Path

import pytest

from diag.facts.links import Flow
from diag.facts.record import is_known
from diag.facts.snapshot import load
from tests.lab.running import Run
from tests.rdma import faults

pytestmark = pytest.mark.rdma
QUICK = ("--python", "/usr/bin/python3", "--interface", "eth1", "--level", "quick", "--pairs", "ring")


def by_rdma(out: Path) -> list[Flow]:
    return [flow for flow in load(out).links.flows if flow.method == "ib_write_bw"]


def test_both_directions_of_a_rail_are_measured_beside_tcp(guests, tmp_path, leaves_nothing):
    with leaves_nothing():
        run = Run(guests, tmp_path, *QUICK).wait()
    assert not run.verdicts["culprits"], run.stderr
    assert {(flow.source, flow.target, flow.rail) for flow in by_rdma(tmp_path)} == {
        ("node1", "node2", "rxe0"),
        ("node2", "node1", "rxe0"),
    }
    flows = load(tmp_path).links.flows
    assert all(flow.bytes_per_s > 1e5 for flow in flows if flow.method in ("tcp", "ib_write_bw"))


def test_a_filter_that_only_rdma_meets_is_told_apart_from_the_links(guests, tmp_path):
    faults.plant(guests.both[1], "no_roce_packets")
    run = Run(guests, tmp_path, *QUICK).wait()
    flows = load(tmp_path).links.flows
    assert all(is_known(flow, "bytes_per_s") for flow in flows if flow.method == "tcp")
    assert {flow.cause for flow in by_rdma(tmp_path)} == {"firewall_blocks_ports"}
    assert run.status == 1, run.verdicts["culprits"]
    assert run.failed() == {"rails_carry_data"}
    assert not run.culprits(), "of two nodes nobody can tell whose it is"
