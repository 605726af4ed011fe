from __future__ import annotations

import shlex
import subprocess
import sys
import threading
import time

import pytest

from diag.errors import DiagError, NodeError
from diag.inventory import Host
from diag.remote.ssh import SshOptions, SshTransport
from diag.remote.ssh_jumps import Jumps
from tests.remote.ssh.sshd import Sshd, make_key

RELAY = """
import os, socket, sys, threading
there = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def up():
    for chunk in iter(lambda: os.read(0, 65536), b""):
        there.sendall(chunk)
threading.Thread(target=up, daemon=True).start()
for chunk in iter(lambda: there.recv(65536), b""):
    os.write(1, chunk)
"""


@pytest.fixture
def relay(tmp_path) -> str:
    """A command that connects its input and output to the host and port that follow it."""
    (tmp_path / "relay.py").write_text(RELAY)
    return f"{sys.executable} {tmp_path}/relay.py"


@pytest.fixture
def bastion(make_node):
    return make_node("bastion")


@pytest.fixture
def second(make_node):
    return make_node("second")


def said(channel) -> bytes:
    channel.send(b"hello")
    return channel.receive(100, 5)


@pytest.fixture
def jump_config(ssh_config, node, home):
    """The config of ``node`` behind jump hosts that have names of their own."""

    def write(*lines: str, **hops: Sshd) -> str:
        known_hosts = home / ".ssh" / "known_hosts"
        stanzas = []
        for name, hop in hops.items():
            stanzas += [f"Host {name}", "HostName 127.0.0.1", f"Port {hop.port}"]
        path = ssh_config(node, *lines, *stanzas)
        known_hosts.write_text(
            known_hosts.read_text() + "".join(f"{hop.name} {hop.host_key}\n" for hop in hops.values())
        )
        return path

    return write


def test_a_host_behind_a_jump_host_is_reached(jump_config, bastion, connect):
    assert said(connect(jump_config("Host node", "ProxyJump bastion", bastion=bastion), "cat")) == b"hello"
    assert "direct-tcpip" in bastion.log() or "Accepted publickey" in bastion.log()


def test_a_host_behind_two_jump_hosts_is_reached(jump_config, bastion, second, connect):
    config = jump_config("Host node", "ProxyJump bastion,second", bastion=bastion, second=second)
    assert said(connect(config, "cat")) == b"hello"
    assert "Accepted publickey" in bastion.log()
    assert "Accepted publickey" in second.log()


def test_a_jump_host_that_has_a_jump_host_is_reached(jump_config, bastion, second, connect):
    lines = ("Host node", "ProxyJump second", "Host second", "ProxyJump bastion")
    assert said(connect(jump_config(*lines, bastion=bastion, second=second), "cat")) == b"hello"
    assert "Accepted publickey" in bastion.log()


def test_a_jump_host_by_address_and_port_is_reached(jump_config, bastion, connect):
    config = jump_config("Host node", f"ProxyJump 127.0.0.1:{bastion.port}", bastion=bastion)
    assert said(connect(config, "cat")) == b"hello"


def test_many_hosts_share_one_connection_to_the_jump_host(jump_config, bastion, node):
    config = jump_config("Host gpu*", "HostName 127.0.0.1", f"Port {node.port}", "ProxyJump bastion", bastion=bastion)
    transport = SshTransport(SshOptions(config_path=config))
    channels = []
    threads = [
        threading.Thread(
            target=lambda name=f"gpu{number}": channels.append(transport.open(Host(name=name), ("cat",), 5))
        )
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [said(channel) for channel in channels] == [b"hello"] * 8
    assert bastion.log().count("Accepted publickey") == 1
    for channel in channels[:7]:
        channel.close()
    assert said(channels[7]) == b"hello"
    channels[7].close()
    until = time.monotonic() + 2
    while "Disconnected from" not in bastion.log() and "Connection closed by" not in bastion.log():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_the_key_of_a_jump_host_is_verified_too(jump_config, bastion, connect, home, tmp_path):
    config = jump_config("Host node", "ProxyJump bastion", bastion=bastion)
    other = make_key(tmp_path / "other").with_suffix(".pub").read_text()
    text = (home / ".ssh" / "known_hosts").read_text()
    (home / ".ssh" / "known_hosts").write_text(text.replace(bastion.host_key, " ".join(other.split()[:2])))
    with pytest.raises(NodeError, match=r"node: jump host bastion: host key of .* changed") as caught:
        connect(config)
    assert caught.value.cause == "host_key_changed"


def test_an_unknown_host_behind_a_jump_host_is_not_asked_to_be_scanned(jump_config, bastion, connect, home, node):
    config = jump_config("Host node", "ProxyJump bastion", bastion=bastion)
    text = (home / ".ssh" / "known_hosts").read_text()
    (home / ".ssh" / "known_hosts").write_text(text.replace(f"{node.name} ", "elsewhere "))
    with pytest.raises(NodeError) as caught:
        connect(config)
    assert caught.value.cause == "host_key_unknown"
    assert f"check it, then ssh -F {shlex.quote(config)} node true" in caught.value.do


def test_a_jump_host_that_cannot_be_reached_is_named(jump_config, bastion, connect):
    config = jump_config("Host node", "ProxyJump bastion", bastion=bastion)
    bastion.process.kill()
    bastion.process.wait()
    with pytest.raises(NodeError, match=r"^node: jump host bastion: 127.0.0.1:.* refuses connections"):
        connect(config)


def test_a_jump_host_that_hangs_is_named(jump_config, bastion, connect):
    config = jump_config("Host node", "ProxyJump bastion", bastion=bastion)
    bastion.freeze()
    with pytest.raises(NodeError, match=r"^node: jump host bastion: TCP connects to .* no SSH banner within 0.3 s"):
        connect(config, timeout_s=0.3)


def test_a_host_that_the_jump_host_cannot_reach_is_named(jump_config, bastion, connect):
    config = jump_config("Host node", "ProxyJump bastion", bastion=bastion)
    with pytest.raises(NodeError, match=r"jump host bastion cannot connect to 127.0.0.1:1: "):
        connect(config, host=Host(name="node", port=1))


def test_a_jump_host_that_is_its_own_is_an_error(jump_config, bastion, connect):
    with pytest.raises(NodeError, match="ProxyJump goes round in circles: node -> bastion"):
        connect(jump_config("ProxyJump bastion", bastion=bastion))


def test_a_proxy_command_carries_the_connection(ssh_config, node, connect, relay):
    assert said(connect(ssh_config(node, f"ProxyCommand {relay} %h %p"), "cat")) == b"hello"


def test_a_proxy_command_ends_with_its_connection(ssh_config, node, connect, tmp_path, relay):
    pid = tmp_path / "pid"
    channel = connect(ssh_config(node, f"ProxyCommand sh -c 'echo $$ > {pid}; exec {relay} %h %p'"), "cat")
    assert said(channel) == b"hello"
    channel.close()
    until = time.monotonic() + 2
    while subprocess.run(["kill", "-0", pid.read_text().strip()], capture_output=True, check=False).returncode == 0:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_proxy_command_that_fails_is_quoted(ssh_config, node, connect):
    with pytest.raises(NodeError, match="the ProxyCommand ended: no way through") as caught:
        connect(ssh_config(node, "ProxyCommand sh -c 'echo no way through >&2; exit 1'"))
    assert caught.value.cause == "node_unreachable"


def test_a_proxy_command_that_hangs_ends_in_time(ssh_config, node, connect):
    with pytest.raises(NodeError, match=r"no SSH banner within 0.3 s"):
        connect(ssh_config(node, "ProxyCommand sleep 60"), timeout_s=0.3)


class Connection:
    alive = True

    def close(self) -> None:
        self.alive = False


def test_a_connection_that_fails_fails_for_all_who_wait():
    jumps: Jumps[Connection] = Jumps()
    made = threading.Event()

    def make() -> Connection:
        made.wait(5)
        raise DiagError("bastion", "is down")

    errors: list[str] = []

    def take() -> None:
        try:
            jumps.take("key", make, time.monotonic() + 5)
        except DiagError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    made.set()
    for thread in threads:
        thread.join()
    assert errors == ["bastion: is down"] * 4


def test_who_waits_for_a_connection_waits_until_the_deadline():
    jumps: Jumps[Connection] = Jumps()
    made = threading.Event()

    def make() -> Connection:
        made.wait(5)
        return Connection()

    thread = threading.Thread(target=jumps.take, args=("key", make, time.monotonic() + 5))
    thread.start()
    time.sleep(0.05)
    with pytest.raises(TimeoutError):
        jumps.take("key", make, time.monotonic() + 0.05)
    made.set()
    thread.join()


def test_a_connection_that_broke_is_made_anew():
    jumps: Jumps[Connection] = Jumps()
    first = jumps.take("key", Connection, time.monotonic() + 1)
    first.alive = False
    assert jumps.take("key", Connection, time.monotonic() + 1) is not first
