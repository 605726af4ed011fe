"""What is this node called, and what do names resolve to here?

The resolver has no deadline of its own: names are asked for in threads, and what is not back in time stays unknown.
"""

from __future__ import annotations

import _socket as socket  # the module around it costs every node 4 ms of CPU
import _thread
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

AT_ONCE = 8


def hostname() -> dict[str, Any]:
    """The node's own name and its addresses, in the resolver's order; none: the name does not resolve."""
    name = os.uname().nodename
    return {"name": name, "addresses": addresses(name)}


def addresses(name: str) -> list[str]:
    """Addresses of a name. Empty: the resolver knows none. Raises OSError when it could not ask."""
    try:
        found = socket.getaddrinfo(name.encode("idna" if not name.isascii() else "ascii"), None, 0, socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.args[0] in (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY):
            return []
        raise
    return list(dict.fromkeys(str(row[4][0]).partition("%")[0] for row in found))


def resolve(names: list[str], seconds: float) -> dict[str, list[str] | None]:
    """Name -> addresses; None: no answer within ``seconds``, or the name server failed."""
    waiting = list(reversed(names))
    found: dict[str, list[str] | None] = dict.fromkeys(names)
    running = min(AT_ONCE, len(names))
    guard, finished = _thread.allocate_lock(), _thread.allocate_lock()
    finished.acquire()

    def work() -> None:
        nonlocal running
        while waiting:
            _look_up(waiting, found)
        with guard:
            running -= 1
            if not running:
                finished.release()

    for _ in range(running):
        _thread.start_new_thread(work, ())
    finished.acquire(True, seconds if names else 0)
    return dict(found)


def _look_up(waiting: list[str], found: dict[str, list[str] | None]) -> None:
    try:
        name = waiting.pop()
        found[name] = addresses(name)
    except (OSError, UnicodeError, IndexError):
        pass  # not known, or another thread took the last one
