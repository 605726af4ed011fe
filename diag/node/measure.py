"""How is a node measured? Round after round of children: one process for each topic and GPU, each with a deadline.

torch is imported once, before the children are forked; none of its devices is touched here, so each child makes a
context of its own and takes it along when it is killed. A child says what it found in lines that carry its number; this
process says how each one ended. argv: {"rounds": [[child, …], …], "seconds": …, "watch": {…} or null}; a child:
{"id", "call": "gemm:measure", "arguments", "devices", "visible", "deadline_s", "delay_s", "wedge", "uuids"}.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import sys
import time

import alive
import heat
import markers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KILLED_WITHIN_S = 3.0
LOOK_S = 0.02
MEET_S = 20.0
"""In a round that begins together nobody waits longer for the last one."""


def main() -> None:
    alive.watch()
    markers.start_clock()
    plan = json.loads(sys.argv[1])
    markers.say(phase="spawned", interpreter=sys.executable, python=platform.python_version())
    try:
        import torch
    except Exception as error:
        markers.say(failed=markers.one_line(error))
        os._exit(1)
    markers.say(phase="imported", torch=torch.__version__)
    leader = Leader(torch, plan)
    for specs in plan["rounds"]:
        leader.round(specs)
    leader.stop_watching()
    markers.say(phase="done")
    os._exit(0)


class Stand:
    """What a measurement is given: torch, its ``devices``, how it says what it found and meets the others."""

    def __init__(self, torch: Any, spec: dict[str, Any], told: int, gate: int) -> None:
        self.torch, self.devices = torch, spec["devices"]
        self._child, self._told, self._gate = spec["id"], told, gate

    def say(self, **found: Any) -> None:
        markers.say(child=self._child, found=found)

    def meet(self) -> None:
        """Wait until all of the round have come here."""
        os.write(self._told, b".")
        os.read(self._gate, 1)


class Child:
    """A process that measures one thing. ``why``: why it was killed; empty: it was not."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec, self.id = spec, spec["id"]
        self.begins = time.monotonic() + spec.get("delay_s", 0)
        self.deadline = self.begins + spec["deadline_s"]
        self.pid = 0
        self.ended = ""
        self.why, self.how = "", "killed"

    def end(self, how: str, why: str) -> None:
        self.ended = how
        markers.say(child=self.id, ended=how, why=why)


class Leader:
    def __init__(self, torch: Any, plan: dict[str, Any]) -> None:
        self.torch = torch
        self.until = time.monotonic() + plan["seconds"]
        self.wedged: dict[str, str] = {}
        self.stopped = ""
        self.children: list[Child] = []
        self.ready = 0
        self.watch = heat.Watch(plan["watch"]) if plan.get("watch") else None

    def stop_watching(self) -> None:
        if self.watch is not None:
            self.watch.end()

    def round(self, specs: list[dict[str, Any]]) -> None:
        """Run these side by side, to the end of all. Those of a group of which one was wedged are not begun."""
        self.children, self.ready = [Child(spec) for spec in specs], 0
        ready, told = os.pipe()
        gate, opener = os.pipe()
        os.set_blocking(ready, False)
        meet_until, waiting = time.monotonic() + MEET_S, True
        while not all(child.ended for child in self.children):
            for child in self.children:
                self._begin(child, told, gate, opener, (ready,))
            self._look_after()
            if waiting and (self._all_ready(ready) or time.monotonic() > meet_until):
                os.close(opener)  # everyone who waits at the gate reads its end
                waiting = False
            time.sleep(LOOK_S)
        for fd in (ready, told, gate, *((opener,) if waiting else ())):
            os.close(fd)

    def _begin(self, child: Child, told: int, gate: int, opener: int, others: tuple[int, ...]) -> None:
        if child.pid or child.ended:
            return
        why = self.stopped or self.wedged.get(child.spec.get("wedge") or "", "")
        if not why and time.monotonic() > self.until:
            why = "no time was left for it"
        if why:
            child.end("skipped", why)
        elif time.monotonic() >= child.begins:
            child.pid = os.fork()
            if child.pid == 0:
                _become(self.torch, child.spec, told, gate, (opener, *others))
            if self.watch is not None:
                self.watch.ours.add(child.pid)

    def _all_ready(self, ready: int) -> bool:
        """Whether as many have come to the gate as still run; those to be begun later are waited for."""
        with contextlib.suppress(BlockingIOError):
            self.ready += len(os.read(ready, 4096))
        left = [child for child in self.children if not child.ended]
        return all(child.pid for child in left) and self.ready >= len(left)

    def _look_after(self) -> None:
        for child in self.children:
            if child.pid and not child.ended:
                self._collect(child)
                if not child.ended and time.monotonic() > child.deadline:
                    self._kill(child, f"no end within {child.spec['deadline_s']:g} s")
                elif not child.ended and time.monotonic() > self.until:
                    self._kill(child, "no time was left for it", wedged=False)
        for gpu, why in self.watch.alarms() if self.watch is not None else ():
            if not gpu and not self.stopped:
                self.stopped = why
                markers.say(stopped=why)
            for child in self.children:
                if child.pid and not child.ended and (not gpu or gpu in child.spec.get("uuids", ())):
                    self._kill(child, why, wedged=False)

    def _collect(self, child: Child) -> bool:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if not pid:
            return False
        if os.WIFSIGNALED(status):
            child.end(child.how if child.why else "failed", child.why or f"ended by signal {os.WTERMSIG(status)}")
        else:
            child.end("failed" if os.WEXITSTATUS(status) else "done", "")
        return True

    def _kill(self, child: Child, why: str, *, wedged: bool = True) -> None:
        """With all that it started. What does not die is left to the agent, which reports it.

        ``wedged``: it is at fault itself; else it was stopped for others' sake or want of time: that accuses nobody.
        """
        child.why, child.how = why, "killed" if wedged else "skipped"
        with contextlib.suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.kill(child.pid, signal.SIGKILL)
        until = time.monotonic() + KILLED_WITHIN_S
        while not self._collect(child):
            if time.monotonic() > until:
                child.end(child.how, f"{why}; pid {child.pid} does not die")
                break
            time.sleep(LOOK_S)
        if wedged and child.spec.get("wedge"):
            self.wedged[child.spec["wedge"]] = f"not begun: {child.spec['call']} on {child.spec['devices']} had {why}"


def _become(torch: Any, spec: dict[str, Any], told: int, gate: int, others: tuple[int, ...]) -> None:
    """In the child: measure, and end."""
    status = 1
    try:
        os.setsid()
        for fd in others:
            os.close(fd)
        alive.watch()
        os.environ.update(spec.get("visible") or {})
        module, _, name = spec["call"].partition(":")
        function = getattr(__import__(module), name)
        function(Stand(torch, spec, told, gate), **spec.get("arguments", {}))
        status = 0
    except BaseException as error:
        markers.say(child=spec["id"], failed=markers.one_line(error))
    finally:
        os._exit(status)
