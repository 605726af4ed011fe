"""How fast do bytes go between this node and one other, first one way, then the other? Over TCP, every byte checked.

Both nodes call ``pair`` at once: one listens on its data address, for a token and this one peer, the other dials.
Beside the rate: half a round trip on the idle pair, retransmissions, and the largest packet that passes unfragmented.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import statistics
import struct
import threading
import time

import dials
import flow_rate
import markers
import unfragmented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLOCK_BYTES = 128 << 10
TOKEN_BYTES = 32
ACCEPT_S, CONNECT_S, REFUSED_S, STALL_S = 4.5, 2.5, 2.0, 3.0
ROUND_TRIPS = 25
TCP_INFO_RETRANSMITS = 100
"""Offset of tcpi_total_retrans (linux/tcp.h)."""
THERE, BACK = b"there", b"back"


class StepError(Exception):
    """A step that failed: connect, accept, receive, send; with the name of its errno."""

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(step)
        self.step, self.error = step, error

    def told(self) -> dict[str, str]:
        return {"step": self.step, "error": dials.name_of(self.error), "why": markers.one_line(self.error)}


def pair(
    *, listens: bool, address: str, port: int, peer: str, token: str, streams: int, seconds: float, mtu: int
) -> dict[str, Any]:
    """``port``: of the one that listens. Each tells what it received: ``rate``, ``windows``, bytes per second.

    ``failed``: the step at which it ended; what was measured before stands. ``mtu``: of the interface, here.
    """
    told: dict[str, Any] = {}
    meet = _accepted if listens else _connected
    connections: list[socket.socket] = []
    try:
        control, connections = meet(address, port, peer, token, streams)
        connections.append(control)
        told.update(_paths(control, listens, address, port, peer, token, mtu))
        receive = _received(control, connections[:-1], token, THERE if listens else BACK, seconds)
        send = _sent(control, connections[:-1], token, BACK if listens else THERE, seconds)
        for step in (receive, send) if listens else (send, receive):
            told.update(step())
    except StepError as broken:
        told["failed"] = broken.told()
    finally:
        for connection in connections:
            connection.close()
    return told


# -- meeting


def _accepted(
    address: str, port: int, peer: str, token: str, streams: int
) -> tuple[socket.socket, list[socket.socket]]:
    """The connections of ``peer`` that show the token, in the order of their numbers; the first is for control."""
    until = time.monotonic() + ACCEPT_S
    found: dict[int, socket.socket] = {}
    try:
        with contextlib.closing(dials.open_listener(address, port)) as listener:
            while len(found) <= streams:
                listener.settimeout(max(0.01, until - time.monotonic()))
                connection, (caller, *_) = listener.accept()
                if caller == peer:
                    connection.settimeout(CONNECT_S)
                    number = _introduced(connection, token)
                    if number is not None:
                        found[number] = connection
                        continue
                connection.close()
        for number in sorted(found):
            found[number].sendall(b"!")
    except OSError as error:
        for connection in found.values():
            connection.close()
        raise StepError("accept", error) from error
    return found.pop(0), [found[number] for number in sorted(found)]


def _introduced(connection: socket.socket, token: str) -> int | None:
    """Which of the caller's connections this is; None: it does not know the token."""
    try:
        shown = dials.read_exactly(connection, TOKEN_BYTES)
        return dials.read_exactly(connection, 1)[0] if hmac.compare_digest(shown, token.encode()) else None
    except OSError:
        return None


def _connected(
    address: str, port: int, peer: str, token: str, streams: int
) -> tuple[socket.socket, list[socket.socket]]:
    found: list[socket.socket] = []
    try:
        for number in range(streams + 1):
            found.append(_dialled(address, port, peer))
            found[-1].sendall(token.encode() + bytes([number]))
        for connection in found:
            dials.read_exactly(connection, 1)
    except OSError as error:
        for connection in found:
            connection.close()
        raise StepError("connect" if len(found) <= streams else "receive", error) from error
    return found[0], found[1:]


def _dialled(address: str, port: int, peer: str) -> socket.socket:
    """A refusal is asked again for a while: the other side may not listen yet."""
    refused_until = time.monotonic() + REFUSED_S
    while True:
        try:
            connection = socket.create_connection((peer, port), CONNECT_S, source_address=(address, 0))
        except ConnectionRefusedError:
            if time.monotonic() > refused_until:
                raise
            time.sleep(0.02)
        else:
            connection.settimeout(STALL_S)
            return connection


# -- what is small


def _paths(  # noqa: PLR0917 - of one call
    control: socket.socket, listens: bool, address: str, port: int, peer: str, token: str, mtu: int
) -> dict[str, Any]:
    """Half a round trip, and the largest packet from here to there: the one who dials first, then the other."""
    control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    control.settimeout(STALL_S)
    try:
        if listens:
            for _ in range(ROUND_TRIPS):
                control.sendall(dials.read_exactly(control, 1))
            told: dict[str, Any] = {}
        else:
            told = {"latency_s": _half_a_round_trip(control)}
        with unfragmented.Paths(address, port if listens else 0, peer, token) as paths:
            paths.tell_port(control, listens)
            for turn in (not listens, listens):
                if turn:
                    told.update(paths.try_sizes(mtu))
                    control.sendall(b".")
                else:
                    paths.answer_until(control)
    except OSError as error:
        raise StepError("receive", error) from error
    return told


def _half_a_round_trip(control: socket.socket) -> float:
    times = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        control.sendall(b"?")
        dials.read_exactly(control, 1)
        times.append((time.perf_counter() - began) / 2)
    return statistics.median(times)


# -- what is large


def _block(token: str, way: bytes) -> bytes:
    return hashlib.sha256(token.encode() + way).digest() * (BLOCK_BYTES // 32)


def _sent(control: socket.socket, connections: list[socket.socket], token: str, way: bytes, seconds: float) -> Any:
    def work() -> dict[str, Any]:
        block, failures = memoryview(_block(token, way)), []
        _await_go(control)
        until = time.monotonic() + seconds

        def send(connection: socket.socket) -> None:
            try:
                connection.settimeout(STALL_S)
                while time.monotonic() < until:
                    connection.sendall(block)
                connection.shutdown(socket.SHUT_WR)
            except OSError as error:
                failures.append(error)

        _side_by_side(send, connections)
        if failures:
            raise StepError("send", failures[0])
        return {"retransmits": sum(_retransmits(connection) for connection in connections)}

    return work


def _await_go(control: socket.socket) -> None:
    """The one who receives says that it is ready; who sends starts the clock then."""
    try:
        control.settimeout(STALL_S * 2)
        dials.read_exactly(control, 1)
    except OSError as error:
        raise StepError("receive", error) from error


def _received(control: socket.socket, connections: list[socket.socket], token: str, way: bytes, seconds: float) -> Any:
    def work() -> dict[str, Any]:
        block = _block(token, way)
        counts, failures = [0] * len(connections), []

        def receive(number: int) -> None:
            try:
                counts[number] = -1 if _drain(connections[number], block, number, counts) else counts[number]
            except OSError as error:
                failures.append(error)

        threads = [threading.Thread(target=receive, args=(n,), daemon=True) for n in range(len(connections))]
        for thread in threads:
            thread.start()
        try:
            control.sendall(b"!")
        except OSError as error:
            raise StepError("receive", error) from error
        samples = flow_rate.sampled(threads, counts, seconds + 2 * STALL_S)
        if -1 in counts:
            return {"wrong": True}
        if failures:
            raise StepError("receive", failures[0])
        return flow_rate.rate(samples, seconds)

    return work


def _drain(connection: socket.socket, block: bytes, number: int, counts: list[int]) -> bool:
    """Until its end; whether a byte was not as sent."""
    connection.settimeout(STALL_S)
    buffer = bytearray(len(block))
    view, filled, wrong = memoryview(buffer), 0, False
    while True:
        got = connection.recv_into(view[filled:])
        if not got:
            return wrong or buffer[:filled] != block[:filled]
        filled += got
        counts[number] += got
        if filled == len(block):
            wrong = wrong or buffer != block
            filled = 0


def _retransmits(connection: socket.socket) -> int:
    raw = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    return int(struct.unpack_from("I", raw, TCP_INFO_RETRANSMITS)[0]) if len(raw) >= TCP_INFO_RETRANSMITS + 4 else 0


def _side_by_side(work: Any, connections: list[socket.socket]) -> None:
    threads = [threading.Thread(target=work, args=(connection,), daemon=True) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
