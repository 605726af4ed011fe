"""Do the checks see on recorded hosts what was planted there, and nothing on the healthy ones?"""

from __future__ import annotations

import pytest

from diag.facts.snapshot import load
from diag.judge import judge
from tests.checks.record import FAULTY, RECORDED, RECORDINGS

FAULTS = {name: recording for name, recording in RECORDINGS.items() if recording.check}
OF_THIS_MACHINE = {"open_files_limit_lets_engines_raise_it"}
"""Advice that every host of the lab inherits from the machine it was recorded on."""


@pytest.mark.parametrize("name", FAULTS)
def test_a_recorded_fault_is_seen_on_its_host_by_its_check(name):
    snapshot = load(RECORDED / f"{name}.json")
    wrong = [v for v in judge(snapshot).verdicts if v.outcome in ("failed", "advice", "broken")]
    faulty = snapshot.nodes[FAULTY].name
    assert {(v.check, v.node) for v in wrong if v.check not in OF_THIS_MACHINE} == {(FAULTS[name].check, faulty)}


def test_recorded_healthy_hosts_are_healthy():
    judged = judge(load(RECORDED / "healthy.json"))
    assert judged.exit_status == 0
    passed = {verdict.check for verdict in judged.verdicts if verdict.outcome == "passed"}
    without_an_outside_cause = {recording.check for recording in FAULTS.values()} - {
        "gloo_socket_ifname_is_an_interface",
        "nccl_socket_ifname_matches_an_interface",
        "proxy_spares_the_peers",
    }
    assert without_an_outside_cause <= passed


def test_every_recording_is_of_a_fault_that_is_known():
    assert {path.stem for path in RECORDED.glob("*.json")} == RECORDINGS.keys()
