"""Each step at which a host can hang or break off ends in time, and is named."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diag.errors import NodeError
from diag.inventory import Host
from tests.remote.ssh.scripted_server import running_scripted_server
from tests.remote.ssh.sshd import free_port

pytestmark = pytest.mark.usefixtures("home")

LIMIT_S = 0.5
LATE_S = 0.4


def unreachable(connect, config: str | None, *, timeout_s: float = LIMIT_S, **options: object) -> str:
    return failure(connect, config, timeout_s=timeout_s, **options).what


def failure(connect, config: str | None, *, timeout_s: float = LIMIT_S, **options: object) -> NodeError:
    began = time.monotonic()
    with pytest.raises(NodeError) as caught:
        connect(config, timeout_s=timeout_s, **options)
    assert time.monotonic() - began < timeout_s + LATE_S
    assert caught.value.cause == "node_unreachable"
    return caught.value


@contextmanager
def listener(answer: Callable[[socket.socket], object]) -> Iterator[Host]:
    """A port behind which ``answer`` is called with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(server.accept()[0])
                    answer(kept[-1])

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Host(name="node", address="127.0.0.1", port=server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


def test_nobody_listens(connect):
    host = Host(name="node", address="127.0.0.1", port=free_port())
    assert unreachable(connect, None, host=host) == (
        f"127.0.0.1:{host.port} refuses connections: no sshd runs there, or on another port"
    )


def test_who_refuses_is_told_what_to_do_next_and_how_this_machine_is_measured(connect):
    do = failure(connect, None, host=Host(name="node", address="127.0.0.1", port=free_port())).do
    assert do.startswith("start sshd there, or name its port (--port")
    assert "this machine is measured by `diag run` without --hosts" in do


@pytest.mark.parametrize(("said", "do"), [(b"220 mail ready\r\n", "start sshd there"), (b"", "look at sshd's log")])
def test_who_says_nothing_or_something_else_is_told_what_to_do_next(connect, said, do):
    with listener(lambda connection: connection.sendall(said)) as host:
        assert failure(connect, None, host=host).do.startswith(do)


def test_a_name_that_does_not_resolve(connect):
    what = unreachable(connect, None, host=Host(name="no-such-host.invalid"), timeout_s=5)
    assert what.startswith("the name no-such-host.invalid does not resolve here: ")


def test_a_network_that_is_not_routed(connect):
    what = unreachable(connect, None, host=Host(name="node", address="255.255.255.254"))
    assert "255.255.255.254:22" in what


def test_packets_that_nobody_answers(connect):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        host = Host(name="node", address="127.0.0.1", port=full.getsockname()[1])
        what = unreachable(connect, None, host=host)
        for one in waiting:
            one.close()
    assert (
        what
        == f"no TCP connection to 127.0.0.1:{host.port} within 0.5 s: the host is down, or a firewall drops the packets"
    )


def test_a_frozen_sshd(make_node, ssh_config, connect):
    node = make_node()
    node.freeze()
    assert unreachable(connect, ssh_config(node)) == (
        f"TCP connects to 127.0.0.1:{node.port}, but no SSH banner within 0.5 s: sshd hung or overloaded"
    )


def test_a_listener_that_never_speaks(connect):
    with listener(lambda _: None) as host:
        assert "but no SSH banner within 0.5 s" in unreachable(connect, None, host=host)


def test_a_listener_that_closes_at_once(connect):
    with listener(lambda connection: connection.close()) as host:
        assert "ends the connection before its SSH banner: sshd refuses more (MaxStartups)" in unreachable(
            connect, None, host=host
        )


def test_a_listener_that_speaks_something_else(connect):
    with listener(
        lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n") or connection.close()
    ) as host:
        assert "does not speak SSH: it says 'HTTP/1.1 400 Bad Request" in unreachable(connect, None, host=host)


def test_a_listener_that_speaks_something_else_for_ever(connect):
    with listener(lambda connection: connection.sendall(b"220 mail ready\r\n")) as host:
        assert "does not speak SSH: it says '220 mail ready" in unreachable(connect, None, host=host)


def test_a_listener_that_stops_after_its_banner(connect):
    with listener(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")) as host:
        assert "answers, but no key exchange within 0.5 s" in unreachable(connect, None, host=host)


def test_a_listener_that_breaks_off_after_its_banner(connect):
    with listener(lambda connection: connection.sendall(b"SSH-2.0-x\r\n") or connection.close()) as host:
        assert "broke off the key exchange" in unreachable(connect, None, host=host)


def test_an_sshd_with_which_there_is_no_common_algorithm(make_node, ssh_config, connect):
    node = make_node(more="Ciphers chacha20-poly1305@openssh.com")
    what = unreachable(connect, ssh_config(node))
    assert "broke off the key exchange: " in what
    assert "cipher" in what


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("login", "does not end the login within 0.5 s"),
        ("session", "logged in at 127.0.0.1:{port}, but no session opens within 0.5 s"),
        ("command", "but the command does not start within 0.5 s"),
    ],
)
def test_a_host_that_hangs_after_the_key_exchange(step, said, ssh_config, connect):
    with running_scripted_server(password="sesame", hang_at=step) as server:
        config = ssh_config(server, with_key=False)
        assert said.format(port=server.port) in unreachable(connect, config, password=lambda: "sesame")


def test_connect_timeout_of_ssh_config_is_the_earlier_limit(make_node, ssh_config, connect):
    node = make_node()
    node.freeze()
    began = time.monotonic()
    with pytest.raises(NodeError, match="no SSH banner within 1 s"):
        connect(ssh_config(node, "ConnectTimeout 1"), timeout_s=10)
    assert time.monotonic() - began < 2


def test_the_connect_timeout_of_the_options_wins(connect):
    with listener(lambda _: None) as host:
        assert "no SSH banner within 0.3 s" in unreachable(connect, None, host=host, connect_timeout_s=0.3)


def test_nothing_stays_open_after_failures(make_node, ssh_config, connect):
    node = make_node()
    config = ssh_config(node)
    connect(config).close()
    node.freeze()
    before = open_files()
    for _ in range(3):
        unreachable(connect, config, timeout_s=0.1)
    until = time.monotonic() + 2
    while open_files() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert open_files() <= before


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_value_of_ssh_config_that_cannot_be_is_that_hosts_error(node, ssh_config, connect):
    assert unreachable(connect, ssh_config(node, "Host node", "ConnectTimeout soon")) == (
        "ssh_config: ConnectTimeout soon: expected seconds"
    )
