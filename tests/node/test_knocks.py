"""Which ports of the others does a node reach? Several knock at each other at once, on loopback addresses."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.node.asking import ask

ADDRESSES = {f"n{number}": f"127.0.9.{number}" for number in range(1, 5)}
PORTS = [29511, 29512, 29513]
TOKEN = "0123456789abcdef" * 2


def knocking(
    *, used: dict[str, list[int]] | None = None, seconds: float = 15, late: str = "", **lies: Any
) -> dict[str, dict[str, Any]]:
    """``lies``: node -> arguments of its own; ``late``: who begins two seconds after the others."""

    def one(name: str) -> dict[str, Any]:
        time.sleep(2 if name == late else 0)
        about = {"ports": PORTS, "used": used or {}, "token": TOKEN, "nodes": ADDRESSES, "seconds": seconds}
        return ask("knocks:knock", address=ADDRESSES[name], name=name, **{**about, **lies.get(name, {})})

    with ThreadPoolExecutor(len(ADDRESSES)) as pool:
        return dict(zip(ADDRESSES, pool.map(one, ADDRESSES), strict=True))


def test_every_node_reaches_every_port_of_every_other():
    told = knocking()
    assert {name: (one["tried"], one["failed"], one["untried"]) for name, one in told.items()} == {
        name: (9, [], 0) for name in ADDRESSES
    }


def test_the_longer_it_takes_the_later_a_node_may_begin():
    assert all(not one["failed"] for one in knocking(seconds=20, late="n2").values())


def test_a_port_that_is_in_use_is_neither_opened_nor_dialled():
    with socket.create_server((ADDRESSES["n2"], PORTS[1])) as mine:
        assert ask("knocks:free", address=ADDRESSES["n2"], ports=PORTS) == [PORTS[0], PORTS[2]]
        told = knocking(used={"n2": [PORTS[1]]})
        mine.settimeout(0.2)
        with pytest.raises(TimeoutError):  # nobody knocked there
            mine.accept()
    assert {name: one["tried"] for name, one in told.items()} == {"n1": 8, "n2": 9, "n3": 8, "n4": 8}
    assert all(not one["failed"] for one in told.values())


def test_a_port_at_which_nobody_listens_is_named_with_its_node():
    told = knocking(seconds=9, n3={"used": {"n3": [PORTS[0]]}})  # it opens two of the three
    assert told["n1"]["failed"] == [[PORTS[0], "ECONNREFUSED", ["n3"]]]
    assert told["n3"]["failed"] == []


def test_who_does_not_know_the_token_is_not_answered():
    told = knocking(seconds=9, n4={"token": "f" * 32})
    assert {error for _, error, names in told["n1"]["failed"] for _ in names} == {"ECONNRESET"}
    assert {tuple(names) for _, _, names in told["n1"]["failed"]} == {("n4",)}
    assert [len(names) for _, _, names in told["n4"]["failed"]] == [3, 3, 3]
