"""Is a healthy host of the lab what the other tests take it for?"""

from __future__ import annotations

import pytest

from tests.lab import iperf
from tests.lab.blueprint import controller_address
from tests.lab.client import ssh

pytestmark = pytest.mark.lab


def test_every_host_has_its_own_name_address_id_and_key(lab4):
    told = [ssh(lab4, name, "hostname; hostname -I; cat /etc/machine-id").stdout.split() for name in lab4.names]
    assert [lines[:2] for lines in told] == [[host.name, host.address] for host in lab4.hosts]
    assert len({lines[2] for lines in told}) == 4
    assert len({line.split()[-1] for line in lab4.known_hosts.read_text().splitlines()}) == 4


def test_hosts_reach_each_other_by_name(lab4):
    assert " 0% packet loss" in lab4.hosts[0].run(("ping", "-c1", "-W1", "n003"))


def test_hosts_reach_this_machine_and_nothing_beyond_it(lab4):
    host = lab4.hosts[0]
    assert " 0% packet loss" in host.run(("ping", "-c1", "-W1", controller_address(lab4.number)))
    assert [line.split()[2] for line in host.run(("ip", "route")).splitlines()] == ["eth0"]
    assert "unreachable" in host.run(("ping", "-c1", "-W1", "192.0.2.1"), check=False)


def test_a_host_has_a_gibibyte_of_shared_memory_and_of_tmp(lab4):
    sizes = ssh(lab4, "n001", "df --output=size -B1 /dev/shm /tmp | tail -2").stdout.split()
    assert sizes == [str(1 << 30)] * 2


def test_a_login_finds_a_home_of_its_own_and_no_noise(lab4):
    done = ssh(lab4, "n001", "cd; pwd; ls -A .ssh")
    assert (done.stdout, done.stderr) == ("/root\nauthorized_keys\n", "")


def test_a_host_sees_its_own_processes_only(lab4):
    names = {process.argv[0].split()[0] for process in lab4.hosts[2].processes()}
    assert names == {"tini", "sleep", "sshd:"}
    assert "1 tini" in lab4.hosts[2].run(("ps", "-e", "-o", "pid=,comm="))


def test_a_host_listens_on_the_port_of_ssh_only(lab4):
    assert lab4.hosts[2].listeners() == {"tcp 00000000:0016"}


@pytest.mark.torch
def test_a_host_runs_the_projects_python_with_torch(lab4):
    done = ssh(lab4, "n002", f"{lab4.python} -c 'import torch; print(torch.ones(2).sum().item())'")
    assert done.stdout == "2.0\n"


def test_what_a_host_writes_stays_on_it(lab4):
    host = lab4.hosts[0]
    host.run(("touch", "/opt/here"))
    try:
        assert "/opt/here" in host.files()
        assert "/opt/here" not in lab4.hosts[1].files()
        assert not host.path("/opt/here").is_relative_to("/opt")
    finally:
        host.run(("rm", "/opt/here"))


def test_what_is_left_behind_is_named(lab4):
    host = lab4.hosts[3]
    before = lab4.look()
    sleeper, listener = (
        host.popen(("sleep", "77")),
        host.popen(("iperf3", "-s", "-p", "7777", "-1", "--logfile", "/dev/null")),
    )
    host.run(("touch", "/root/.hidden"))
    while not host.listens(7777):
        pass
    left = lab4.left_since(before, grace_s=0)
    assert (host.kill("sleep 77"), host.kill("iperf3")) == (1, 1)
    sleeper.wait(), listener.wait()
    host.run(("rm", "/root/.hidden"))
    kinds = [line.split()[:2] for line in left]
    assert kinds == [["n003:", kind] for kind in ("file", "listener", "process", "process")]
    assert lab4.left_since(before) == []


def test_logging_in_leaves_nothing(lab4, leaves_nothing):
    with leaves_nothing(lab4):
        assert ssh(lab4, "n000", "echo text > /tmp/x && rm /tmp/x").returncode == 0


def test_a_blackholed_host_is_silent_until_it_is_healed(lab4):
    lab4.hosts[1].blackhole()
    assert "timed out" in ssh(lab4, "n001", "true", connect_timeout_s=1).stderr
    lab4.heal()
    assert ssh(lab4, "n001", "true").returncode == 0


def test_a_frozen_sshd_accepts_and_says_nothing(lab4):
    lab4.hosts[1].freeze_sshd()
    assert "banner exchange" in ssh(lab4, "n001", "true", connect_timeout_s=1).stderr
    lab4.hosts[1].thaw_sshd()
    assert ssh(lab4, "n001", "true").returncode == 0


def test_a_port_can_be_rejected_and_dropped(lab4):
    lab4.hosts[1].reject_port(22)
    lab4.hosts[2].drop_port(22)
    assert "refused" in ssh(lab4, "n001", "true").stderr
    assert "timed out" in ssh(lab4, "n002", "true", connect_timeout_s=1).stderr


def test_a_path_can_swallow_big_packets(lab4):
    lab4.hosts[1].drop_bigger_than(1400)
    ping = ("ping", "-c1", "-W1", "-M", "do", "n001", "-s")
    assert " 0% packet loss" in lab4.hosts[0].run((*ping, "1000"))
    assert "100% packet loss" in lab4.hosts[0].run((*ping, "1450"), check=False)


def test_a_rate_holds_in_both_directions(lab4):
    slow, fast = lab4.hosts[:2]
    slow.set_rate("200mbit")
    for server, client in ((slow, fast), (fast, slow)):
        assert 15e6 < iperf.throughput_bytes_per_s(server, client, seconds=1) < 26e6
