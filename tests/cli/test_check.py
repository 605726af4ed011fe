"""Does ``diag check`` judge a file, tell it in each form, and end with the status that the verdicts have?"""

from __future__ import annotations

import gc
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from diag import rundir
from diag.facts import snapshot as snapshots
from diag.facts.node import Reach
from diag.facts.system import Limits
from tests.cli.conftest import RECORDED, ROOT


def altered(path: Path, **changes: object) -> Path:
    """The recorded Snapshot with one named change on its first node."""
    recorded = snapshots.load(RECORDED)
    first, *rest = recorded.nodes
    nodes = (msgspec.structs.replace(first, **changes), *rest)
    snapshots.save(msgspec.structs.replace(recorded, nodes=nodes), path / "snapshot.json")
    return path / "snapshot.json"


@pytest.fixture
def faulty(tmp_path) -> Path:
    limits = msgspec.structs.replace(snapshots.load(RECORDED).nodes[0].limits, nofile_hard=1024)
    assert isinstance(limits, Limits)
    return altered(tmp_path, limits=limits)


def test_memory_is_collected_again_once_it_has_judged(diag):
    diag("check", RECORDED)
    assert gc.isenabled()


def test_a_healthy_snapshot_ends_with_0(diag):
    done = diag("check", RECORDED)
    assert done.status == 0, done.out
    assert "0 failed, 0 not measured" in done.out
    assert "exit 0  healthy" in done.out
    assert done.err == ""


def test_a_fault_ends_with_1_and_is_explained(diag, faulty):
    done = diag("check", faulty)
    assert done.status == 1
    assert "gpu01  open_files_limit_is_high_enough\n  found     at most 1024 open files" in done.out
    assert "            $ ssh gpu01 " in done.out


def test_a_node_that_was_not_reached_ends_with_3(diag, tmp_path):
    path = altered(tmp_path, reach=Reach(outcome="node_unreachable", summary="Connection refused"))
    done = diag("check", path)
    assert done.status == 3, done.out
    assert "gpu01  Connection refused (node_unreachable, certain)" in done.out


@pytest.mark.parametrize(("fail_on", "status"), [("never", 0), ("failed", 1), ("missing", 1)])
def test_fail_on_says_what_counts(diag, faulty, fail_on, status):
    assert diag("check", faulty, "--fail-on", fail_on).status == status


def test_json_prints_exactly_the_verdicts(diag, faulty):
    done = diag("check", faulty, "--json")
    document = json.loads(done.out)
    assert document["schema"] == 1
    assert document["exit_status"] == done.status == 1
    [failed] = [verdict for verdict in document["verdicts"] if verdict["outcome"] == "failed"]
    assert failed["check"] == "open_files_limit_is_high_enough"
    assert failed["node"] == "gpu01"
    assert failed["subject"] is None
    assert failed["found"] == "at most 1024 open files"
    assert set(document["checks"]) == {verdict["check"] for verdict in document["verdicts"]}


def test_junit_goes_to_its_file(diag, faulty, tmp_path):
    diag("check", faulty, "--junit", tmp_path / "report.xml")
    root = ET.parse(tmp_path / "report.xml").getroot()
    assert root.attrib["failures"] == "1"


def test_quiet_verbose_keyword_and_exitfirst_do_what_pytest_users_expect(diag, faulty):
    quiet = diag("check", faulty, "-q").out
    assert quiet.startswith("── failed")
    assert "exit" not in quiet.splitlines()[-1]
    verbose = diag("check", faulty, "-v", "-k", "open_files").out
    assert "limits.py::open_files_limit_is_high_enough[gpu02] passed" in verbose
    only = json.loads(diag("check", faulty, "--json", "-k", "open_files_limit_is or memlock").out)
    assert len(only["checks"]) == 2
    first = json.loads(diag("check", faulty, "--json", "-x").out)
    everything = json.loads(diag("check", faulty, "--json").out)
    assert len(first["checks"]) < len(everything["checks"])
    assert first["exit_status"] == 1


def test_without_an_argument_it_judges_the_last_run(diag, tmp_path):
    done = diag("check")
    assert done.status == 2
    assert done.err == "diag: no run yet; name a snapshot.json or a run directory, or start one with: diag run\n"
    run = rundir.create(tmp_path / "mine")
    shutil.copy(RECORDED, run.path / "snapshot.json")
    rundir.point_latest(run)
    done = diag("check", "-q")
    assert done.status == 0
    assert diag("check", tmp_path / "mine", "-q").out == done.out


def test_checks_of_ones_own_are_judged_beside_those_of_diag(diag, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "site.py").write_text('def check_there_are_five_nodes(cluster):\n    """Sold so."""\n'
                                    "    assert len(cluster.nodes) == 5\n")  # fmt: skip
    done = diag("check", RECORDED, "--checks", folder, "-k", "five")
    assert done.status == 1
    assert "site.py\n  there_are_five_nodes  cluster FAILED" in done.out


def test_a_broken_check_is_shown_and_does_not_stop_the_others(diag, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "site.py").write_text("import nosuchmodule\n")
    done = diag("check", RECORDED, "--checks", folder)
    assert done.status == 3
    assert "── broken checks" in done.out
    assert "No module named 'nosuchmodule'" in " ".join(done.out.split())
    assert "limits.py" in done.out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nosuch.json"], "diag: nosuch.json: no such Snapshot; name a snapshot.json or a run directory"),
        ([RECORDED, "-k", "nosuch"], "diag: -k: 'nosuch' matches no check; see them with: diag list"),
        ([RECORDED, "-k", "a or"], "diag: -k: "),
        ([RECORDED, "--checks", "nosuch"], "diag: --checks: "),
        ([RECORDED, "--junit", "/nosuch/report.xml"], "diag: --junit: /nosuch: no directory that can be written to"),
        ([RECORDED, "--junit", "/"], "diag: --junit: /: a directory; expected a file, e.g. report.xml"),
        ([ROOT / "pyproject.toml"], f"diag: {ROOT}/pyproject.toml: not a Snapshot of diag: "),
    ],
)
def test_what_was_asked_wrongly_is_one_line(diag, arguments, line):
    done = diag("check", *arguments)
    assert done.status == 2
    assert done.out == ""
    assert done.err.startswith(line)
    assert done.err.count("\n") == 1


def test_the_page_is_plain_in_a_pipe():
    done = subprocess.run(
        [sys.executable, "-m", "diag", "check", RECORDED], check=True, capture_output=True, cwd=ROOT, timeout=60,
        env={"PATH": "/usr/bin", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": "/nonexistent"},
    )  # fmt: skip
    assert b"\x1b" not in done.stdout
    assert done.stdout.isascii()


def test_a_snapshot_is_compared_with_an_earlier_one(diag):
    plain = diag("check", RECORDED, "-v")
    compared = diag("check", RECORDED, "-v", "--baseline", RECORDED)
    assert compared.status == 0
    assert "gpu_is_as_fast_as_it_was[gpu01:0] passed" in compared.out
    assert "gpu_is_as_fast_as_it_was[gpu01:0] passed" not in plain.out


def test_a_report_that_cannot_be_written_is_no_healthy_end(diag):
    done = diag("check", RECORDED, "--junit", "/dev/full")
    assert done.status == 2
    assert "exit 2  not every file could be written" in done.out
    assert "diag: --junit: /dev/full: no space left on device" in done.err
