"""Is a host of the lab what the other tests take it for?"""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.lab.cluster import Lab
from tests.lab.host import Host

pytestmark = pytest.mark.lab


def ssh(lab: Lab, name: str, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    argv = ("ssh", "-F", str(lab.ssh_config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=3", *options, name, command)
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)


def test_every_host_has_its_own_name_address_and_key(lab4):
    told = [ssh(lab4, name, "hostname; hostname -I; cat /etc/machine-id").stdout.split() for name in lab4.names]
    assert [lines[0] for lines in told] == list(lab4.names)
    assert [lines[1] for lines in told] == [host.address for host in lab4.hosts]
    assert len({lines[2] for lines in told}) == 4
    assert len({line.split()[-1] for line in lab4.known_hosts.read_text().splitlines()}) == 4


def test_hosts_reach_each_other_by_name_and_nothing_else(lab4):
    host = lab4.hosts[0]
    assert " 0% packet loss" in host.run(("ping", "-c1", "-W1", "n003"))
    routes = host.run(("ip", "route")).splitlines()
    assert [line.split()[0] for line in routes] == ["10.77.0.0/20"] or len(routes) == 1


def test_a_host_has_a_gibibyte_of_shared_memory_and_a_private_home(lab4):
    printed = ssh(lab4, "n001", "df --output=size -B1 /dev/shm | tail -1; ls -A ~").stdout.split()
    assert printed[0] == str(1 << 30)
    assert ".ssh" in printed
    assert ".bashrc" not in printed


def test_a_host_sees_only_its_own_processes(lab4):
    names = {process.argv[0] for process in lab4.hosts[2].processes()}
    assert (
        names == {"tini", "sleep", "sshd: /usr/sbin/sshd -E /run/sshd.log [listener] 0 of 100-1000 startups"}
        or len(names) == 3
    )


@pytest.mark.torch
def test_a_host_runs_the_projects_python_with_torch(lab4):
    assert "2." in ssh(lab4, "n002", f"{lab4.python} -c 'import torch; print(torch.__version__)'").stdout


def test_what_a_host_writes_stays_on_it(lab4, tmp_path):
    with_file, without = lab4.hosts[:2]
    with_file.run(("touch", "/opt/here"))
    try:
        assert "/opt/here" in with_file.files()
        assert "/opt/here" not in without.files()
    finally:
        with_file.run(("rm", "/opt/here"))


def test_what_is_left_behind_is_named(lab4):
    host = lab4.hosts[3]
    before = lab4.look()
    process = host.popen(("sleep", "77"))
    host.run(("touch", "/root/.hidden"))
    left = lab4.left_since(before, grace_s=0)
    process.terminate()
    host.kill("sleep 77")
    process.wait()
    host.run(("rm", "/root/.hidden"))
    assert [line.split()[:2] for line in left] == [["n003:", "file"], ["n003:", "process"]]
    assert lab4.left_since(before) == []


def test_a_blackholed_host_is_silent_until_it_is_healed(lab4):
    lab4.hosts[1].blackhole()
    assert "timed out" in ssh(lab4, "n001", "true", "-o", "ConnectTimeout=1").stderr
    lab4.heal()
    assert ssh(lab4, "n001", "true").returncode == 0


def test_a_frozen_sshd_accepts_and_says_nothing(lab4):
    lab4.hosts[1].freeze_sshd()
    assert "banner exchange" in ssh(lab4, "n001", "true", "-o", "ConnectTimeout=1").stderr
    lab4.hosts[1].thaw_sshd()
    assert ssh(lab4, "n001", "true").returncode == 0


def test_a_port_can_be_rejected(lab4):
    lab4.hosts[1].reject_port(22)
    assert "refused" in ssh(lab4, "n001", "true").stderr


def _getent(host: Host) -> str:
    return host.run(("getent", "hosts", host.name)).split()[0]


def test_faults_are_where_they_were_asked_for(make_lab):
    faults = {
        0: ("hosts127",),
        1: ("shm64m", "noisy"),
        2: ("sshd_down",),
        3: ("hostkey",),
        4: ("noauth",),
        5: ("nopython",),
        6: ("fulldisk",),
        7: ("lownofile", "lowmemlock"),
        8: ("unknownkey",),
        9: ("skew",),
        10: ("othertorch",),
        11: ("hungmount",),
    }
    lab = make_lab(12, faults=faults)
    hosts = lab.hosts
    assert (_getent(hosts[0]), _getent(hosts[1])) == ("127.0.1.1", hosts[1].address)
    assert "65536" in hosts[1].run(("df", "/dev/shm"))
    assert "noise" in ssh(lab, "n001", "true").stdout
    assert "refused" in ssh(lab, "n002", "true").stderr
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in ssh(lab, "n003", "true").stderr
    assert "Permission denied" in ssh(lab, "n004", "true").stderr
    assert "not found" in ssh(lab, "n005", "python3 -V").stderr
    assert "No space left" in ssh(lab, "n006", "echo text > /opt/x").stderr
    assert "No space left" in ssh(lab, "n006", "echo text > /tmp/x").stderr
    assert ssh(lab, "n007", "ulimit -Hn; ulimit -Hl").stdout.split() == ["256", "64"]
    assert "No ED25519 host key is known" in ssh(lab, "n008", "true").stderr
    assert 36 < float(ssh(lab, "n009", "date +%s").stdout) - time.time() < 39
    assert (
        "2.12.0+other"
        in ssh(lab, "n010", f"{lab.python} -c 'import importlib.metadata as m; print(m.version(\"torch\"))'").stdout
    )
    assert "137" in ssh(lab, "n011", "timeout -s KILL 1 ls /mnt/hung; echo $?").stdout
