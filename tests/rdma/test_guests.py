"""Are the two machines what the tests of RDMA take them for, healthy and with each fault?"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.cluster import PROJECT
from tests.rdma import faults
from tests.rdma.guests import ROOT, USER

pytestmark = pytest.mark.rdma


def test_both_have_an_active_port_and_reach_each_other_by_it(guests):
    for guest in guests.both:
        assert "link rxe0/1 state ACTIVE physical_state LINK_UP netdev eth1" in guest.run("rdma link")
    served = "ib_write_bw -d rxe0 -x 1 -n 16 -s 4096"
    server = "timeout 20 {served} > /tmp/server 2>&1 & until ss -Hlnt | grep -q :18515; do sleep 0.05; done"
    guests.both[1].run(server.format(served=served))
    said = guests.both[0].run(f"timeout 20 {served} {guests.both[1].address}")
    assert "4096" in said.splitlines()[-2], said
    guests.both[1].run("rm /tmp/server")


@pytest.mark.parametrize(
    ("fault", "user", "command", "shown", "shown_by_healthy"),
    [
        ("link_down", ROOT, "rdma link show rxe0/1 | grep -o ' state [A-Z]*'", "state DOWN", "state ACTIVE"),
        ("plain_memlock", USER, "ulimit -Hl", "64", "unlimited"),
        ("plain_memlock", ROOT, "ulimit -Hl", "unlimited", "unlimited"),
        ("no_tools", ROOT, "command -v ib_write_bw", "", "/usr/bin/ib_write_bw"),
        ("large_mtu", ROOT, "ibv_devinfo | grep active_mtu | grep -o '[0-9]* ('", "4096 (", "1024 ("),
        ("no_roce_packets", ROOT, "nft list ruleset | grep -o 'dport 4791 drop'", "dport 4791 drop", ""),
    ],
)
def test_a_fault_is_on_its_guest_only_until_it_is_healed(guests, told_by, fault, shown, shown_by_healthy):
    faults.plant(guests.both[1], fault)
    assert told_by() == [shown_by_healthy, shown]
    guests.heal()
    assert told_by() == [shown_by_healthy, shown_by_healthy]


@pytest.fixture
def told_by(guests, user, command):
    """Ask both."""
    return lambda: [guest.ssh(command, user=user).stdout.strip() for guest in guests.both]


def test_what_is_left_on_a_guest_is_seen(guests):
    before = guests.look()
    assert not guests.left_since(before, grace_s=0)
    guests.both[0].run("touch /tmp/left; setsid sleep 300 > /dev/null 2>&1 & echo $!")
    left = guests.left_since(before, grace_s=0)
    guests.both[0].run("rm /tmp/left; kill $(pidof sleep)")
    assert [line.split()[:2] for line in left] == [["node1:", "file"], ["node1:", "process"]]
    assert not guests.left_since(before)


def test_a_session_that_is_killed_takes_its_guests_with_it(tmp_path: Path):
    script = f"from pathlib import Path; from tests.rdma.guests import Guests; Guests.up(Path({str(tmp_path)!r}))"
    process = subprocess.Popen((sys.executable, "-c", script), cwd=PROJECT, stdin=subprocess.PIPE)
    try:
        assert _until(lambda: len(_qemus(tmp_path)) == 2, 60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert _until(lambda: not _qemus(tmp_path), 10)


def _qemus(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if path.readlink() == folder and "qemu" in (path.parent / "comm").read_text():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def _until(true, within_s: float) -> bool:
    end = time.monotonic() + within_s
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return bool(true())
