"""A user of our own (home, key, no agent) and real sshds that let that user in."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from diag.inventory import Host
from diag.remote.ssh import SshOptions, SshTransport
from diag.remote.transport import Channel
from tests.remote.ssh import sshd
from tests.remote.ssh.sshd import Sshd, make_key, running_sshd


@pytest.fixture(scope="session")
def key(tmp_path_factory) -> Path:
    """The private key that every sshd here accepts."""
    return make_key(tmp_path_factory.mktemp("user") / "id_ed25519")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty home; nothing of the real user is seen."""
    home = tmp_path / "user home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture(scope="session")
def _needs_sshd() -> None:
    if lacking := sshd.missing():
        pytest.skip(lacking)


@pytest.fixture(scope="session")
def node(tmp_path_factory, key, _needs_sshd) -> Iterator[Sshd]:
    """One sshd for all tests that leave it as it is."""
    with running_sshd(tmp_path_factory.mktemp("node"), authorized=[key]) as running:
        yield running


@pytest.fixture
def make_node(tmp_path, key, _needs_sshd) -> Iterator[Callable[..., Sshd]]:
    """``make_node(kinds=("rsa",), more="…")``: an sshd for one test."""
    with ExitStack() as stack:

        def make(name: str = "node", **options: object) -> Sshd:
            options.setdefault("authorized", [key])
            return stack.enter_context(running_sshd(tmp_path / name, **options))  # type: ignore[arg-type]

        yield make


@pytest.fixture
def ssh_config(home, key) -> Callable[..., str]:
    """``ssh_config(node, "Line", …)``: a file in which ``node`` is that sshd, and is known and logged in to."""

    def write(node: Sshd, *lines: str, known: bool = True, with_key: bool = True) -> str:
        if known:
            known_hosts = home / ".ssh" / "known_hosts"
            before = known_hosts.read_text() if known_hosts.exists() else ""
            known_hosts.write_text(f"{before}{node.name} {node.host_key}\n")
        path = home / "config"
        stanza = ("Host node", "HostName 127.0.0.1", f"Port {node.port}", "Host *", "GlobalKnownHostsFile none")
        path.write_text("\n".join((*lines, *stanza, *([f"IdentityFile {key}"] if with_key else []))) + "\n")
        return str(path)

    return write


@pytest.fixture
def connect() -> Iterator[Callable[..., Channel]]:
    """``connect(config, argv, timeout_s=5, name="node", **options)``: a channel, closed after the test."""
    channels: list[Channel] = []

    def open_(
        config: str | None, *argv: str, timeout_s: float = 5, host: Host | None = None, **options: object
    ) -> Channel:
        transport = SshTransport(SshOptions(config_path=config, **options))  # type: ignore[arg-type]
        channel = transport.open(host or Host(name="node"), argv or ("true",), timeout_s)
        channels.append(channel)
        return channel

    yield open_
    for channel in channels:
        channel.close()


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 3
    while (left := [t for t in threading.enumerate() if t not in before]) and time.monotonic() < until:
        time.sleep(0.01)
    stacks = [traceback.format_stack(sys._current_frames()[thread.ident]) for thread in left if thread.is_alive()]
    assert not left, f"threads left behind: {left}\n" + "\n".join("".join(stack) for stack in stacks)
