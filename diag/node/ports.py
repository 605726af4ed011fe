"""Which TCP ports that engines use are listened on, and by whom?"""

from __future__ import annotations

import _socket as socket  # the module around it costs every node 4 ms of CPU
import os
import time

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

LISTEN = "0A"
PIDS_AT_MOST = 4096
LOOK_S = 0.02


def listeners(ranges: list[list[int]], root: str = "/") -> list[dict[str, Any]]:
    """Listening ports within ``ranges`` ([low, high] each); ``pid`` None: the process is not visible to this user."""
    found: list[dict[str, Any]] = []
    for family, name in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for address, port, inode in _listening(os.path.join(root, "proc/net", name), family):
            if any(low <= port <= high for low, high in ranges):
                found.append({"address": address, "port": port, "inode": inode})
    owners = _owners({row["inode"] for row in found}, root) if found else {}
    for row in found:
        pid = owners.get(row.pop("inode"))
        row["pid"] = pid
        row["process"] = proc.line(os.path.join(root, f"proc/{pid}/comm")) if pid else None
    return found


def listening(port: int, seconds: float, root: str = "/") -> bool:
    """Whether something listens at ``port``, waiting for it at most ``seconds``."""
    until = time.monotonic() + seconds
    tables = [(os.path.join(root, "proc/net", name), family) for name, family in
              (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6))]  # fmt: skip
    while True:
        if any(found == port for path, family in tables for _, found, _ in _listening(path, family)):
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(LOOK_S)


def _listening(path: str, family: int) -> Iterator[tuple[str, int, str]]:
    """The kernel lists listening sockets first: what follows them (thousands, on a busy node) is not read."""
    try:
        table = open(path, encoding="ascii")
    except FileNotFoundError:
        return
    with table:
        next(table, None)
        for row in table:
            fields = row.split()
            if len(fields) < 10 or fields[3] != LISTEN:  # noqa: PLR2004 - proc_net_tcp: the tenth is the inode
                return
            packed, _, port = fields[1].partition(":")
            yield _address(packed, family), int(port, 16), fields[9]


def _address(packed: str, family: int) -> str:
    """The table prints each 32-bit word of the address in the machine's byte order."""
    words = [bytes.fromhex(packed[at : at + 8]) for at in range(0, len(packed), 8)]
    order = -1 if socket.htons(1) != 1 else 1
    return socket.inet_ntop(family, b"".join(word[::order] for word in words))


def _owners(inodes: set[str], root: str) -> dict[str, int]:
    """Inode -> pid, for sockets of processes that this user may look into."""
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, int] = {}
    pids = [name for name in proc.names(os.path.join(root, "proc")) if name.isdigit()]
    for pid in pids[:PIDS_AT_MOST]:
        folder = os.path.join(root, "proc", pid, "fd")
        for fd in proc.names(folder):
            inode = wanted.get(proc.link(os.path.join(folder, fd)) or "")
            if inode:
                found.setdefault(inode, int(pid))
        if len(found) == len(wanted):
            break
    return found
