"""Do labs come side by side, and go without a trace, also after a crash?"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab import network, registry
from tests.lab.blueprint import namespace
from tests.lab.client import ssh
from tests.lab.cluster import PROJECT, Lab

pytestmark = pytest.mark.lab

CRASH = """
import os, signal
from tests.lab.cluster import Lab
print(Lab.up(2).number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def by_hand(*arguments: str) -> str:
    return tried_by_hand(*arguments, check=True).stdout


def tried_by_hand(*arguments: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-m", "tests.lab", *arguments)
    return subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, check=check, timeout=60)


def test_down_leaves_no_trace_on_this_machine():
    lab = Lab.up(3)
    pids = [process.pid for host in lab.hosts for process in host.processes()]
    wires = {Path(f"/proc/{host.pid}/ns/net").stat().st_ino for host in lab.hosts}
    lab.down()
    assert len(pids) == 3 * 3
    assert not any(process_lives(pid) for pid in pids)
    assert not wires & {path.stat().st_ino for path in network.NAMESPACES.glob("*")}


def process_lives(pid: int) -> bool:
    """A process that was killed may stay in the table until its parent looks at it; its namespaces are gone."""
    try:
        return bool(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return False


def test_labs_stand_side_by_side_and_do_not_see_each_other(lab4, make_lab):
    other = make_lab(1, names=("gpu01",))
    assert other.number != lab4.number
    assert ssh(other, "gpu01", "hostname").stdout == "gpu01\n"
    assert "unreachable" in other.hosts[0].run(("ping", "-c1", "-W1", lab4.hosts[0].address), check=False)


def test_what_a_crashed_run_left_is_removed_by_the_next():
    crashed = subprocess.run((sys.executable, "-c", CRASH), cwd=PROJECT, capture_output=True, text=True, check=False)
    assert crashed.returncode == -signal.SIGKILL
    number = int(crashed.stdout)
    assert (network.NAMESPACES / namespace(number, "n001")).exists()
    lab = Lab.up(1)
    try:
        assert not (network.NAMESPACES / namespace(number, "n001")).exists()
    finally:
        lab.down()


def test_many_hosts_get_room_in_the_table_of_neighbours_while_they_stand(make_lab):
    lab = make_lab(64)
    before = json.loads(registry.NEIGHBOURS_BEFORE.read_text())
    assert int((network.NEIGHBOURS / "gc_thresh3").read_text()) >= 32768
    lab.down()
    assert (
        registry.NEIGHBOURS_BEFORE.exists()
        or int((network.NEIGHBOURS / "gc_thresh3").read_text()) == before["gc_thresh3"]
    )


def test_a_lab_made_by_hand_outlives_its_maker():
    login, run = by_hand("up", "2", "--names", "gpu[01-02]", "--fault", "1=shm64m", "--rate", "1gbit").splitlines()
    try:
        assert run.startswith("diag run --hosts gpu01,gpu02 --ssh-config /run/diag-lab/")
        done = subprocess.run((*login.split(), "hostname"), capture_output=True, text=True, check=False)
        assert done.stdout == "gpu01\n"
        assert "65536" in by_hand("exec", "1", "df", "/dev/shm")
        by_hand("net", "0", "reject:22")
        refused = subprocess.run((*login.split(), "hostname"), capture_output=True, text=True, check=False)
        assert "refused" in refused.stderr
        by_hand("net", "0", "heal")
        assert by_hand("freeze", "0", "sshd") == "1 processes\n"
    finally:
        by_hand("down", login.split("/")[3])
    assert not Path(login.split()[2]).exists()


def test_commands_by_hand_act_on_the_newest_lab_also_when_it_has_an_older_ones_number():
    numbers = [number_of(by_hand("up", "1")) for _ in range(2)]
    try:
        by_hand("down", numbers[0])
        numbers[0] = number_of(by_hand("up", "1", "--names", "newest"))
        assert by_hand("exec", "0", "hostname") == "newest\n"
    finally:
        for number in numbers:
            assert by_hand("down", number) == f"removed: {number}\n"


def test_a_lab_that_does_not_stand_or_is_a_tests_own_is_not_removed_by_its_number(lab4):
    for number in ("15", str(lab4.number)):
        refused = tried_by_hand("down", number)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert refused.stderr.startswith(f"tests.lab: down: found {number}, expected a lab made by hand (")
    assert lab4.hosts[0].run(("hostname",)) == "n000\n"


def number_of(printed: str) -> str:
    return printed.split()[2].split("/")[3]
