"""Who cleans up when the agent itself is killed with SIGKILL? A forked child that waits for just that.

It imports what it needs only then: an ordinary run pays for a fork, no more.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 4.0


def start(alive: int, token: str, since: int, lock_path: str | None, leave: Callable[[], None]) -> int:
    """Fork it; its pid. ``alive`` ends when the agent does; ``leave()`` drops the agent's descriptors in the child."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            leave()
            _watch(alive, token, since, lock_path)
        finally:
            os._exit(0)
    return pid


def _watch(alive: int, token: str, since: int, lock_path: str | None) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # whoever ends everything ends the agent; this one ends after it
    sys.path[0] = sys.path[0].replace(
        f"/proc/{os.getppid()}/", "/proc/self/"
    )  # the zip in memory outlives the agent here
    older = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()  # noqa: S108 - only looked at
    os.read(alive, 1)
    signal.alarm(int(3 * LIMIT_S))  # never left behind itself
    _clean(token, since, older)
    if lock_path is not None:
        _remove_lock(lock_path)


def _clean(token: str, since: int, older: set[str]) -> None:
    import descendants
    import private_dir
    import shared_memory

    def find() -> set[int]:
        return descendants.marked(token, descendants.running(), since)

    shared = shared_memory.opened_by(find(), older)
    descendants.end(find, LIMIT_S)
    shared_memory.remove(shared)
    for path in private_dir.candidates(token):
        private_dir.remove(path)


def _remove_lock(path: str) -> None:
    """Remove the agent's lock file, unless a newer run holds it by now."""
    from lock import Lock

    left = Lock((path,))
    if left.take("watcher").get("held"):
        left.release()
