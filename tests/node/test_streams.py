"""What does a pair of nodes say of the way between them? Two processes on loopback addresses."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.node.asking import ask

ONE, OTHER = "127.0.9.11", "127.0.9.12"
TOKEN = "0123456789abcdef" * 2


def pair(**changes: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the one that dials says, and the one that listens; ``dialler`` and ``listener`` change their arguments."""
    port = ask("dials:free_port", address=OTHER)
    alike = {"port": port, "token": TOKEN, "streams": 2, "seconds": 0.3, "mtu": 9000}
    dialler = {"listens": False, "address": ONE, "peer": OTHER, **alike, **changes.get("dialler", {})}
    listener = {"listens": True, "address": OTHER, "peer": ONE, **alike, **changes.get("listener", {})}
    with ThreadPoolExecutor(2) as pool:
        there, here = pool.map(lambda about: ask("streams:pair", **about), (dialler, listener))
    return there, here


def test_both_directions_have_a_rate_and_the_path_its_size():
    there, here = pair()
    for end in (there, here):
        assert end["rate"] > 1e7
        assert len(end["windows"]) == 8
        assert end["path_mtu"] == 9000
        assert end["retransmits"] >= 0
        assert "failed" not in end
    assert 0 < there["latency_s"] < 0.1


def test_a_port_that_something_uses_for_udp_is_no_fault_of_the_path():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((OTHER, 0))
        port = {"port": taken.getsockname()[1]}
        for end in pair(dialler=port, listener=port):
            assert (end["path_mtu"], "failed" in end) == (9000, False)


def test_a_peer_that_never_comes_is_a_failed_step_on_both_sides():
    there, here = pair(dialler={"peer": "127.0.9.13"})
    assert (there["failed"]["step"], there["failed"]["error"]) == ("connect", "ECONNREFUSED")
    assert (here["failed"]["step"], here["failed"]["error"]) == ("accept", "ETIMEDOUT")


def test_who_does_not_know_the_token_is_sent_away():
    there, here = pair(dialler={"token": "f" * 32})
    assert there["failed"]["step"] == "receive"
    assert here["failed"]["step"] == "accept"
    assert "rate" not in here


@pytest.mark.parametrize("flipped", [0, 700_000])
def test_one_byte_that_changed_on_the_way_is_seen(flipped):
    """Between them stands somebody who changes a byte of the first stream."""
    with ThreadPoolExecutor(1) as pool, socket.create_server((OTHER, 0)) as server:
        port = server.getsockname()[1]
        behind = ask("dials:free_port", address="127.0.9.14")
        forger = pool.submit(forging, server, ("127.0.9.14", behind), flipped)
        there, here = pair(
            dialler={"port": port, "mtu": 0},
            listener={"address": "127.0.9.14", "port": behind, "peer": "127.0.9.15", "mtu": 0},
        )
        forger.result(20)
    assert here.get("wrong") is True, (there, here)


def forging(server: socket.socket, behind: tuple[str, int], flipped: int) -> None:
    """Pass on three connections, the second with one byte changed."""
    with contextlib.ExitStack() as stack:
        threads = []
        for number in range(3):
            front = stack.enter_context(server.accept()[0])
            back = stack.enter_context(patiently(behind))
            offset = 33 + flipped if number == 1 else -1  # behind token and number
            threads += [
                threading.Thread(target=passing, args=ends) for ends in ((front, back, offset), (back, front, -1))
            ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def patiently(behind: tuple[str, int]) -> socket.socket:
    """It may not listen yet."""
    for _ in range(50):
        with contextlib.suppress(ConnectionRefusedError):
            return socket.create_connection(behind, source_address=("127.0.9.15", 0))
        time.sleep(0.05)
    raise AssertionError("nobody listens behind")


def passing(one: socket.socket, other: socket.socket, offset: int) -> None:
    passed = 0
    with contextlib.suppress(OSError):  # the other side is gone
        while chunk := bytearray(one.recv(1 << 16)):
            if passed <= offset < passed + len(chunk):
                chunk[offset - passed] ^= 1
            passed += len(chunk)
            other.sendall(chunk)
    with contextlib.suppress(OSError):
        other.shutdown(socket.SHUT_WR)
