"""Is what lies between two nodes tried both ways, and a failure named by step and errno?"""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from pathlib import Path

import pytest

NODE = Path(__file__).parents[2] / "diag" / "node"
ONE, OTHER = "127.0.0.1", "127.0.0.2"
TOKEN = "5" * 32


@pytest.fixture
def dials(monkeypatch):
    monkeypatch.syspath_prepend(str(NODE))
    import dials  # noqa: PLC0415 - a module of the agent, found through the path above

    yield dials
    for name in [
        name
        for name, module in sys.modules.items()
        if getattr(module, "__file__", "") and str(NODE) in str(module.__file__)
    ]:
        del sys.modules[name]


def test_two_nodes_hear_each_other(dials):
    ports = {address: dials.free_port(address) for address in (ONE, OTHER)}
    told: dict[str, object] = {}

    def meet(own: str, peer: str) -> None:
        told[own] = dials.meet(
            address=own, port=ports[own], token=TOKEN, callers=[peer], dial={"peer": [peer, ports[peer]]}, seconds=5
        )

    threads = [threading.Thread(target=meet, args=pair) for pair in ((ONE, OTHER), (OTHER, ONE))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert told == {ONE: {"heard": [OTHER], "failed": {}}, OTHER: {"heard": [ONE], "failed": {}}}


def test_a_port_that_nobody_opened_is_refused(dials):
    port = dials.free_port(OTHER)
    told = dials.meet(
        address=ONE, port=dials.free_port(ONE), token=TOKEN, callers=[], dial={"n2": [OTHER, port]}, seconds=1
    )
    assert told["failed"]["n2"]["step"] == "connect"
    assert told["failed"]["n2"]["error"] == "ECONNREFUSED"


def test_a_listener_that_says_nothing_is_a_failure_to_receive(dials, monkeypatch):
    monkeypatch.setattr(dials, "EXCHANGE_S", 0.3)
    with socket.create_server((OTHER, 0)) as mute:
        told = dials.meet(
            address=ONE, port=dials.free_port(ONE), token=TOKEN, callers=[],
            dial={"n2": [OTHER, mute.getsockname()[1]]}, seconds=1,
        )  # fmt: skip
    assert (told["failed"]["n2"]["step"], told["failed"]["n2"]["error"]) == ("receive", "ETIMEDOUT")


def test_other_bytes_than_were_sent_are_a_failure(dials):
    def garble(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(64)
            connection.sendall(bytes(dials.BLOCK_BYTES))
            connection.recv(1)

    with socket.create_server((OTHER, 0)) as listener:
        threading.Thread(target=garble, args=(listener,), daemon=True).start()
        told = dials.meet(
            address=ONE, port=dials.free_port(ONE), token=TOKEN, callers=[],
            dial={"n2": [OTHER, listener.getsockname()[1]]}, seconds=1,
        )  # fmt: skip
    assert told["failed"]["n2"]["why"] == "the bytes that arrived are not those sent"


def test_a_caller_without_the_token_or_from_elsewhere_gets_nothing(dials):
    port = dials.free_port(ONE)
    listening = threading.Thread(
        target=dials.meet,
        kwargs={"address": ONE, "port": port, "token": TOKEN, "callers": [OTHER], "dial": {}, "seconds": 3},
    )
    listening.start()
    for source, said in ((OTHER, b"6" * 32), ("127.0.0.3", TOKEN.encode())):
        with connected(ONE, port, source) as caller:
            caller.sendall(said)
            with contextlib.suppress(ConnectionResetError):
                assert caller.recv(1) == b""
    listening.join()


def connected(address: str, port: int, source: str) -> socket.socket:
    for _ in range(100):
        try:
            return socket.create_connection((address, port), 3, source_address=(source, 0))
        except ConnectionRefusedError:
            threading.Event().wait(0.02)
    raise AssertionError("nobody listens")


def test_a_free_port_lies_below_those_of_outgoing_connections(dials):
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert dials.LOWEST_PORT <= dials.free_port(ONE) < lowest
