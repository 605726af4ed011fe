"""How is that removed at the end which is no process of ours: a container that we started, processes inside another?

A guard is data: ``list`` prints what is still there, ``remove`` and what it printed takes it away, ``what`` names it;
``looks``: so many lists in a row must be empty, since a runtime may still be starting what was just asked of it. Where
``list`` fails with one of the words in ``gone``, nothing can be left.
"""

from __future__ import annotations

import os
import time

import descendants
import verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LIMIT_S = 8.0
GRACE_S = 1.5
CLIENT = ".client"
TOOL_S = 4.0
PAUSE_S = 0.2
SHOWN = 200


class Guarded:
    """What the agent with ``token`` guards; ``since``: its own start in clock ticks."""

    def __init__(self, guards: list[dict[str, Any]], token: str, since: int) -> None:
        self.guards, self.token, self.since = guards, token, since

    def around(self, end: Callable[[], list[str]]) -> list[str]:
        """``end()`` kills what is ours and that we see. Before that, what is inside may end by itself, cleaner."""
        if self.guards:
            self._let_go()
        left = end()
        until = time.monotonic() + LIMIT_S
        return left + [line for guard in self.guards for line in _end(guard, until)]

    def _let_go(self) -> None:
        """End the clients: then the agent inside has nobody who speaks to it, and leaves."""
        until = time.monotonic() + GRACE_S
        while True:
            processes = descendants.running()
            for pid in descendants.marked(self.token + CLIENT, processes, self.since):
                descendants.kill(pid)
            descendants.reap()
            ours = descendants.below([os.getpid()], processes)
            if not descendants.marked(self.token + ".", processes, self.since) - ours or time.monotonic() > until:
                return
            time.sleep(PAUSE_S / 4)


def _end(guard: dict[str, Any], until: float) -> list[str]:
    empty, found, why = 0, [""], "no time was left to look"
    while time.monotonic() < until:
        found, why = _listed(guard)
        if found:
            empty = 0
            if guard["remove"] and not why:
                why = _run([*guard["remove"], *found])[1]
        else:
            empty += 1
            if empty >= guard["looks"]:
                return []
        time.sleep(PAUSE_S)
    return [" ".join(f"{guard['what']} {' '.join(found)}: {why or 'still there'}".split())]


def _listed(guard: dict[str, Any]) -> tuple[list[str], str]:
    """What is there, and why that is not known: then it is taken for something."""
    said, why = _run(guard["list"])
    if why and any(word in why for word in guard["gone"]):
        return [], ""
    return said.split() or ([""] if why else []), why


def _run(argv: list[str]) -> tuple[str, str]:
    """What it printed, and what went wrong."""
    environment = dict(os.environ, LC_ALL="C")
    environment["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":" + verbs.SYSTEM_FOLDERS
    try:
        done = verbs.run(argv, environment, verbs.LIMIT_BYTES, time.monotonic() + TOOL_S)
    except OSError as error:
        return "", str(error)
    lines = done["stderr"].strip().splitlines()
    return done["stdout"], (lines[-1][-SHOWN:] if lines else f"status {done['status']}") if done["status"] else ""
