"""Does a host that is born with a fault have it, and its neighbour not?"""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.lab.client import ssh
from tests.lab.cluster import Lab
from tests.lab.faults import CLOCK_SKEW_S, FAULTS, HUNG_MOUNT, OTHER_TORCH, PASSWORD

pytestmark = pytest.mark.lab
HEALTHY = "healthy"
TORCH_VERSION = "import importlib.metadata as m; print(m.version('torch'))"


@pytest.fixture(scope="module")
def ill(tmp_path_factory):
    """One host for each fault, named after it, and a healthy one."""
    model = tmp_path_factory.mktemp("model")
    (model / "config.json").write_text("{}")
    names = (*FAULTS, HEALTHY)
    lab = Lab.up(
        len(names), names=names, faults=dict(enumerate((name,) for name in FAULTS)), shares={"/models/m": model}
    )
    yield lab
    lab.down()


def host(lab, name):
    return next(one for one in lab.hosts if one.name == name)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("sshd_down", "refused"),
        ("hostkey", "REMOTE HOST IDENTIFICATION HAS CHANGED"),
        ("unknownkey", "No ED25519 host key is known"),
        ("noauth", "Permission denied (publickey)"),
        ("password", "Permission denied (publickey,password)"),
        ("keyboard", "Permission denied (publickey,keyboard-interactive)"),
    ],
)
def test_a_login_fails_as_it_should(ill, fault, says):
    assert says in ssh(ill, fault, "true").stderr


@pytest.mark.parametrize("fault", ["password", "keyboard"])
def test_a_password_opens_the_host_that_asks_for_one(ill, fault, tmp_path):
    answer = tmp_path / "answer"
    answer.write_text(f"#!/bin/sh\necho {PASSWORD}\n")
    answer.chmod(0o700)
    environment = {"SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force", "PATH": "/usr/bin:/bin"}
    argv = ("ssh", "-F", str(ill.ssh_config), fault, "hostname")
    assert subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout == f"{fault}\n"


@pytest.mark.parametrize(
    ("fault", "command", "shown", "shown_by_healthy"),
    [
        ("hosts127", "getent hosts $(hostname) | cut -c1-6", "127.0.", "10.77."),
        ("shm64m", "df --output=size /dev/shm | tail -1", "65536", "1048576"),
        ("fulldisk", "df --output=avail / /tmp | tail -2 | grep -cx ' *0'", "2", "0"),
        ("fullroot", "df --output=avail / /tmp | tail -2 | grep -cx ' *0'", "1", "0"),
        ("fulltmp", "df --output=avail / /tmp | tail -2 | grep -cx ' *0'", "1", "0"),
        ("nopython", "command -v python3", "", "/usr/bin/python3"),
        ("hungmount", f"timeout -s KILL 0.3 ls {HUNG_MOUNT} >/dev/null 2>&1; echo $?", "137", "2"),
        ("noshare", "cat /models/m/config.json 2>&-", "", "{}"),
    ],
)
def test_a_fault_is_on_its_host_only(ill, fault, command, shown, shown_by_healthy):
    told = [host(ill, name).run(("sh", "-c", command), check=False).strip() for name in (fault, HEALTHY)]
    assert told == [shown, shown_by_healthy]


@pytest.mark.parametrize(
    ("fault", "command", "shown", "shown_by_healthy"),
    [
        ("noisy", "echo answer", "Welcome to the noise; 3 updates can be applied\nanswer", "answer"),
        ("lownofile", "ulimit -Hn | grep -x 256", "256", ""),
        ("lowmemlock", "ulimit -Hl | grep -x 64", "64", ""),
    ],
)
def test_a_fault_is_seen_by_who_logs_in(ill, fault, command, shown, shown_by_healthy):
    assert [ssh(ill, name, command).stdout.strip() for name in (fault, HEALTHY)] == [shown, shown_by_healthy]


def test_a_skewed_clock_is_ahead(ill):
    offsets = [float(host(ill, name).run(("date", "+%s.%N"))) - time.time() for name in ("skew", HEALTHY)]
    assert CLOCK_SKEW_S - 5 < offsets[0] <= CLOCK_SKEW_S
    assert -5 < offsets[1] <= 0


@pytest.mark.torch
def test_another_torch_is_told_by_its_metadata(ill):
    command = (str(ill.python), "-c", TORCH_VERSION)
    versions = [host(ill, name).run(command).strip() for name in ("othertorch", HEALTHY)]
    assert versions[0] == OTHER_TORCH != versions[1]


def test_an_unknown_fault_is_refused():
    with pytest.raises(ValueError, match="found wrong, expected one of sshd_down, "):
        Lab.up(1, faults={0: ("wrong",)})
