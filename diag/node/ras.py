"""What does NCCL's own RAS service say of our job? Asked over TCP, in text, and only at our job's own port.

NCCL >= 2.24 starts it in every process (user guide, "RAS"). It answers for all ranks, also those that hang: a process
that says nothing within its timeout is named. One that is stopped itself may own the port: then another is tried.
"""

from __future__ import annotations

import os
import socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ADDRESS = "NCCL_RAS_ADDR"
SINCE = (2, 24)
HELLO = b"CLIENT PROTOCOL 2\n"
GREETED = b"SERVER PROTOCOL "
GREET_S = 1.0
COLLECT_S = 2
"""Seconds that it may wait for each other process; it says itself who did not answer by then."""
TRIES = 3
KEPT_BYTES = 12288


def ask(address: str, version: str, seconds: float) -> dict[str, Any]:
    """{"text"}, its answer, cut at 12 KiB; or {"why"}. ``version``: of NCCL, as it calls itself."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < SINCE:
        return {"why": f"NCCL {version} has no RAS (since 2.24)"}
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return {"why": f"its address is not known: {ADDRESS}={address}"}
    until, why = time.monotonic() + seconds, ""
    for _ in range(TRIES):
        try:
            with socket.create_connection((host, int(port)), timeout=GREET_S) as connection:
                return _converse(connection, until)
        except ConnectionRefusedError:
            return {"why": f"nothing listens at {address}{_off()}"}
        except OSError as error:
            why = f"no answer at {address}: {error}"
        if time.monotonic() > until:
            break
    return {"why": why}


def _off() -> str:
    return " (NCCL_RAS_ENABLE=0)" if os.environ.get("NCCL_RAS_ENABLE") == "0" else ""


def _converse(connection: socket.socket, until: float) -> dict[str, Any]:
    """It answers each line with one, and the last with all it knows; then it closes."""
    connection.sendall(HELLO)
    greeting = _line(connection)
    if not greeting.startswith(GREETED):
        return {"why": f"something else answers there: {_shown(greeting)}"}
    connection.sendall(b"TIMEOUT %d\n" % COLLECT_S)
    obeyed = _line(connection)
    if obeyed.strip() != b"OK":
        return {"why": f"it does not take a timeout: {_shown(obeyed)}"}
    connection.sendall(b"VERBOSE STATUS\n")
    text = b""
    while len(text) < KEPT_BYTES:
        connection.settimeout(max(0.05, until - time.monotonic()))
        try:
            chunk = connection.recv(4096)
        except OSError as error:
            if not text:
                return {"why": f"it greeted and then said nothing: {error}"}
            break
        if not chunk:
            break
        text += chunk
    if not text:
        return {"why": "it greeted and then closed the connection"}
    return {"text": text[:KEPT_BYTES].decode("utf-8", "replace")}


def _line(connection: socket.socket) -> bytes:
    kept = b""
    while not kept.endswith(b"\n") and len(kept) < KEPT_BYTES:
        chunk = connection.recv(1024)
        if not chunk:
            break
        kept += chunk
    return kept


def _shown(text: bytes) -> str:
    return repr(text[:80].decode("utf-8", "replace"))
