"""Who cleans up when the agent itself is killed with SIGKILL? A forked child that waits for just that.

It imports what it needs only then: an ordinary run pays for a fork, no more.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agent import Agent

LIMIT_S = 4.0
LIFE_S = 20


def start(agent: Agent) -> int:
    """Fork it; its pid. The pipe ``agent.alive`` ends when the agent does; the child drops the agent's descriptors."""
    parent = os.getpid()  # asked here: in the child it may be dead already
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            agent.drop_descriptors()
            _watch(agent, parent)
        finally:
            os._exit(0)
    return pid


def _watch(agent: Agent, parent: int) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # whoever ends everything ends the agent; this one ends after it
    sys.path[0] = sys.path[0].replace(f"/proc/{parent}/", "/proc/self/")  # the zip in memory outlives the agent here
    older = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()  # noqa: S108 - only looked at
    os.read(agent.alive, 1)
    signal.alarm(LIFE_S)  # never left behind itself
    agent.around_end(lambda: _end_processes(agent.token, agent.since, older))
    _remove_folders(agent.token)
    if agent.lock.path is not None:
        _remove_lock(agent.lock.path)


def _end_processes(token: str, since: int, older: set[str]) -> list[str]:
    import descendants
    import shared_memory

    def find() -> set[int]:
        return descendants.marked(token, descendants.running(), since)

    shared = shared_memory.opened_by(find(), older)
    left = descendants.end(find, LIMIT_S)
    shared_memory.remove(shared)
    return left


def _remove_folders(token: str) -> None:
    import private_dir

    for path in private_dir.candidates(token):
        private_dir.remove(path)


def _remove_lock(path: str) -> None:
    """Remove the agent's lock file, unless a newer run holds it by now."""
    from lock import Lock

    left = Lock((path,))
    if left.take("watcher").get("held"):
        left.release()
