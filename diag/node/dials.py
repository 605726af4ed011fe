"""Can this node be reached on its data address, and does it reach the others? Both ways, with bytes that are checked.

A listener is opened for this test alone: on the data address, for a token and the addresses of the run's nodes, for a
few seconds. What passes it (a connection, and dozens of full packets each way) an engine's connections pass too.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import os
import random
import select
import socket
import threading
import time

import markers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LOWEST_PORT = 20000
TRIES = 64
BLOCK_BYTES = 64 << 10
"""Full packets, dozens of them: a path with a smaller MTU than it says passes a handshake, not this."""
TOKEN_BYTES = 32
CONNECT_S, EXCHANGE_S, REFUSED_S = 2.5, 2.5, 1.5
ANSWER_S = EXCHANGE_S + 1.5
"""Longer than who dials waits: it is to see packets that do not come through, not us giving up."""
AT_ONCE = 64


def free_port(address: str) -> int:
    """A port of ``address`` that nothing uses, below those that the kernel gives to outgoing connections."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        lowest_ephemeral = int(file.read().split()[0])
    candidates = range(LOWEST_PORT, lowest_ephemeral)
    for port in random.sample(candidates, min(TRIES, len(candidates))):
        if is_free(address, port):
            return port
    with open_listener(address, 0) as listener:
        return int(listener.getsockname()[1])


def is_free(address: str, port: int) -> bool:
    try:
        open_listener(address, port).close()
    except OSError:
        return False
    return True


def open_listener(address: str, port: int) -> socket.socket:
    listener = socket.socket(family_of(address), socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def family_of(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def meet(
    *, address: str, port: int, token: str, callers: list[str], dial: dict[str, list[Any]], seconds: float
) -> dict[str, Any]:
    """Listen at ``port`` for ``callers`` (addresses) while dialling each of ``dial`` (name -> address, port).

    ``failed``: name -> the step that failed (connect, receive, send) and why; ``heard``: the callers that came through.
    """
    until = time.monotonic() + seconds
    listener = open_listener(address, port)
    heard: set[str] = set()
    server = threading.Thread(target=_serve, args=(listener, token, set(callers), heard, until), daemon=True)
    server.start()
    failed = _dial_all(address, token, dial)
    server.join(max(0.0, until - time.monotonic()))
    return {"heard": sorted(heard), "failed": failed}


def _serve(listener: socket.socket, token: str, callers: set[str], heard: set[str], until: float) -> None:
    """Until all callers came through, or the time is over."""
    while heard < callers and time.monotonic() < until:
        if not select.select([listener], [], [], 0.05)[0]:
            continue
        connection, (caller, *_) = listener.accept()
        if caller in callers:
            threading.Thread(target=_answer, args=(connection, token, caller, heard), daemon=True).start()
        else:
            connection.close()
    listener.close()


def _answer(connection: socket.socket, token: str, caller: str, heard: set[str]) -> None:
    block = _block(token)
    with connection:
        try:
            connection.settimeout(ANSWER_S)
            if not hmac.compare_digest(read_exactly(connection, TOKEN_BYTES), token.encode()):
                return
            connection.sendall(block)
            if read_exactly(connection, BLOCK_BYTES) == block:
                connection.sendall(b"!")
                heard.add(caller)
                connection.recv(1)  # the caller closes first, so that no port of ours waits
        except OSError:
            return


def _dial_all(address: str, token: str, dial: dict[str, list[Any]]) -> dict[str, dict[str, str]]:
    failed: dict[str, dict[str, str]] = {}
    waiting = list(dial.items())

    def work() -> None:
        while waiting:
            try:
                name, (there, port) = waiting.pop()
            except IndexError:
                return
            why = _dial(address, there, port, token)
            if why:
                failed[name] = why

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(waiting)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def _dial(address: str, there: str, port: int, token: str) -> dict[str, str] | None:
    """None: everything passed. A refusal is asked again for a while: the other side may not listen yet."""
    step, refused_until = "connect", time.monotonic() + REFUSED_S
    while True:
        try:
            with socket.create_connection((there, port), CONNECT_S, source_address=(address, 0)) as connection:
                connection.settimeout(EXCHANGE_S)
                connection.sendall(token.encode())
                step = "receive"
                if read_exactly(connection, BLOCK_BYTES) != _block(token):
                    return {"step": step, "error": "EBADMSG", "why": "the bytes that arrived are not those sent"}
                step = "send"
                connection.sendall(_block(token))
                read_exactly(connection, 1)
                return None
        except OSError as error:
            if error.errno == errno.ECONNREFUSED and time.monotonic() < refused_until:
                time.sleep(0.05)
                continue
            return {"step": step, "error": name_of(error), "why": markers.one_line(error)}


def read_exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        received += chunk
    return received


def _block(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest() * (BLOCK_BYTES // 32)


def name_of(error: OSError) -> str:
    if isinstance(error, socket.timeout):  # its errno is None
        return "ETIMEDOUT"
    return errno.errorcode.get(error.errno or 0, type(error).__name__)
