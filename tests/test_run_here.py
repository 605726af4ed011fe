"""Does the main job run on this machine, as the newcomer's first command does?"""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from diag.facts.snapshot import load

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[subprocess.CompletedProcess[str], Path]:
    out = tmp_path_factory.mktemp("here") / "run"
    command = [sys.executable, "-m", "diag", "run", "--max-size", "512KiB", "--json", "--out", str(out)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=ROOT), out


@pytest.mark.torch
def test_two_ranks_reduce_on_this_machine_with_right_sums(run):
    _, out = run
    collective = load(out).collective
    assert (collective.finished, collective.world_size) == (True, 2)
    assert [step.size_bytes for step in collective.steps] == [8192, 65536, 524288]
    assert all(step.verified for step in collective.steps)


def test_standard_output_is_verdicts_json_and_nothing_else(run):
    done, out = run
    assert done.stdout == (out / "verdicts.json").read_text()
    assert json.loads(done.stdout)["exit_status"] == done.returncode


def test_all_files_of_a_run_are_there_and_can_be_read(run):
    _, out = run
    snapshot = load(out)
    (node,) = snapshot.nodes
    assert node.reach.outcome == "answered"
    assert {path.name for path in out.iterdir()} == {
        "snapshot.json", "evidence", "verdicts.json", "plan.json", "junit.xml"
    }  # fmt: skip
    stored = {path.name.split(".")[0] for path in (out / "evidence").iterdir()}
    assert {evidence.sha256 for evidence in node.evidence} <= stored
    assert {"system", "interfaces", "collective"} <= {evidence.topic for evidence in node.evidence}
    assert ET.parse(out / "junit.xml").getroot().tag == "testsuites"
    assert json.loads((out / "plan.json").read_text())["schema"] == 1


def test_the_same_snapshot_is_judged_alike_without_measuring(run):
    done, out = run
    command = [sys.executable, "-m", "diag", "check", str(out), "--json"]
    again = json.loads(subprocess.run(command, check=False, capture_output=True, text=True, timeout=60).stdout)
    first = json.loads(done.stdout)
    assert again["verdicts"] == first["verdicts"]
    assert again["culprits"] == first["culprits"]


def test_nothing_is_left_of_the_run(run):
    assert run[0].returncode in (0, 1, 3)
    mine = subprocess.run(["ps", "-eo", "args"], check=True, capture_output=True, text=True).stdout
    assert str(run[1]) not in mine
    assert load(run[1]).nodes[0].left_behind == ()
