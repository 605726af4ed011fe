"""What is this node called, and what do names resolve to here?

The resolver has no deadline of its own: every name gets a thread, and those that are not back in time stay unknown.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from typing import Any

AT_ONCE = 8


def hostname() -> dict[str, Any]:
    """The node's own name and its addresses, in the resolver's order; none: the name does not resolve."""
    name = os.uname().nodename
    return {"name": name, "addresses": addresses(name)}


def addresses(name: str) -> list[str]:
    """Addresses of a name. Empty: the resolver knows none. Raises OSError when it could not ask."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY):
            return []
        raise
    return list(dict.fromkeys(str(row[4][0]).partition("%")[0] for row in found))


def resolve(names: list[str], seconds: float) -> dict[str, list[str] | None]:
    """Name -> addresses; None: no answer within ``seconds``, or the name server failed."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    found: dict[str, list[str] | None] = dict.fromkeys(names)
    workers = [threading.Thread(target=_work, args=(waiting, found), daemon=True) for _ in names[:AT_ONCE]]
    until = time.monotonic() + seconds
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(max(0.0, until - time.monotonic()))
    return dict(found)


def _work(waiting: queue.SimpleQueue[str], found: dict[str, list[str] | None]) -> None:
    while True:
        try:
            name = waiting.get_nowait()
        except queue.Empty:
            return
        try:
            found[name] = addresses(name)
        except (OSError, UnicodeError):
            found[name] = None
