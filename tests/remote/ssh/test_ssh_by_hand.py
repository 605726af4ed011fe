"""Does the command that a person types reach the host as diag does?"""

from __future__ import annotations

import shutil
import subprocess

import pytest

from diag.inventory import Host, commandline
from diag.remote import ssh_settings
from diag.remote.ssh_by_hand import ssh_by_hand
from diag.remote.ssh_config import SshConfig
from diag.remote.ssh_options import SshOptions


def test_a_host_of_which_nothing_was_said_is_reached_by_its_name():
    assert ssh_by_hand(Host(name="gpu01"), SshOptions()) == ("ssh", "gpu01")


def test_what_was_said_of_the_host_wins_over_what_was_said_of_all():
    options = SshOptions(user="root", port=22, config_path="lab.conf", identity_files=("b",))
    host = Host(name="gpu01", user="ops", port=2222, identity_file="a")
    words = ("-F", "lab.conf", "-i", "a", "-i", "b", "-p", "2222", "-l", "ops")
    assert ssh_by_hand(host, options) == ("ssh", *words, "gpu01")
    assert ssh_by_hand(Host(name="gpu01"), options)[-5:] == ("-p", "22", "-l", "root", "gpu01")


def test_a_name_made_of_address_and_port_is_no_name_for_ssh():
    for host in commandline.from_text("h:2201,h:2202"):
        assert ssh_by_hand(host, SshOptions()) == ("ssh", "-p", str(host.port), "h")
    for host in commandline.from_text("[::1]:2201,[::1]:2202"):
        assert ssh_by_hand(host, SshOptions()) == ("ssh", "-p", str(host.port), "::1")


@pytest.mark.parametrize(
    "host",
    [
        Host(name="gpu01"),
        Host(name="gpu01", address="10.0.0.9"),
        Host(name="gpu01", user="me", port=99),
        Host(name="other", address="fe80::1"),
    ],
)
def test_openssh_understands_it_as_we_do(host, tmp_path):
    if not shutil.which("ssh"):
        pytest.skip("no ssh here (openssh-client)")
    config = tmp_path / "config"
    config.write_text("Host gpu01\n  User ops\n  Port 2222\n  HostName gpu01.example\n")
    options = SshOptions(config_path=str(config))
    ssh, *words = ssh_by_hand(host, options)
    said = subprocess.check_output([ssh, "-G", *words], text=True, stdin=subprocess.DEVNULL)
    theirs = dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
    ours = ssh_settings.for_host(host, options, SshConfig(options.config_path))
    assert (theirs["hostname"], theirs["port"], theirs["user"]) == (ours.host, str(ours.port), ours.user)
    assert ours.by_hand == (ssh, *words)
