"""Does a rank get what NCCL's RAS says, and never wait for ever? Against a small server that speaks its protocol."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NODE = Path(__file__).parents[2] / "diag" / "node"
ANSWER = (Path(__file__).parents[1] / "data" / "nccl" / "ras-incomplete.txt").read_bytes()
"""In the form that NCCL's user guide documents."""
Reply = Callable[[bytes], "bytes | None"]


@pytest.fixture
def ras(monkeypatch):
    monkeypatch.syspath_prepend(str(NODE))
    import ras  # noqa: PLC0415 - a module of the agent, found through the path above

    yield ras
    sys.modules.pop("ras", None)


def obedient(line: bytes) -> bytes | None:
    """As ``src/ras/client_support.cc`` answers; None: it closes."""
    if line.upper().startswith(b"CLIENT PROTOCOL"):
        return b"SERVER PROTOCOL 2\n"
    if line.upper().startswith(b"TIMEOUT "):
        return b"OK\n"
    return ANSWER if line.upper() == b"VERBOSE STATUS" else b"ERROR: Unknown command %s\n" % line


@contextlib.contextmanager
def serving(reply: Reply, *, closes_after: bytes = b"VERBOSE STATUS") -> Iterator[str]:
    """Its address. It serves one after the other until the test ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        converse(connection)

        def converse(connection: socket.socket) -> None:
            kept = b""
            while chunk := connection.recv(4096):
                *lines, kept = (kept + chunk).split(b"\n")
                for line in lines:
                    said = reply(line)
                    if said is None:
                        return
                    connection.sendall(said)
                    if line == closes_after:
                        return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


def test_the_whole_answer_is_handed_on(ras):
    with serving(obedient) as address:
        assert ras.ask(address, "2.27.3", 4) == {"text": ANSWER.decode()}


def test_a_long_answer_is_cut(ras):
    def talkative(line: bytes) -> bytes | None:
        return ANSWER * 100 if line == b"VERBOSE STATUS" else obedient(line)

    with serving(talkative) as address:
        assert len(ras.ask(address, "2.27.3", 4)["text"]) == ras.KEPT_BYTES


def test_a_service_that_accepts_and_never_speaks_is_given_up(ras):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert ras.ask(address, "2.27.3", 2) == {"why": f"no answer at {address}: timed out"}


def test_one_that_greets_and_then_falls_silent_is_given_up(ras):
    with serving(lambda line: b"" if line == b"VERBOSE STATUS" else obedient(line), closes_after=b"") as address:
        assert ras.ask(address, "2.27.3", 1)["why"].startswith("it greeted and then said nothing")


def test_one_that_closes_says_nothing(ras):
    with serving(lambda line: None if line == b"VERBOSE STATUS" else obedient(line)) as address:
        assert ras.ask(address, "2.27.3", 1) == {"why": "it greeted and then closed the connection"}


def test_something_else_at_its_port_is_not_believed(ras):
    with serving(lambda _: b"HTTP/1.1 400 Bad Request\r\n") as address:
        assert ras.ask(address, "2.27.3", 1)["why"].startswith("something else answers there: 'HTTP/1.1 400")


def test_where_nothing_listens_that_is_said_with_the_reason(ras, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    assert ras.ask(address, "2.27.3", 1) == {"why": f"nothing listens at {address}"}
    monkeypatch.setenv("NCCL_RAS_ENABLE", "0")
    assert ras.ask(address, "2.27.3", 1) == {"why": f"nothing listens at {address} (NCCL_RAS_ENABLE=0)"}


def test_an_older_nccl_is_not_asked(ras):
    assert ras.ask("127.0.0.1:1", "2.21.5", 1) == {"why": "NCCL 2.21.5 has no RAS (since 2.24)"}


def test_without_an_address_nobody_is_asked(ras):
    assert ras.ask("", "2.27.3", 1) == {"why": "its address is not known: NCCL_RAS_ADDR="}
