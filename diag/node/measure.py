"""How is a node measured? Round after round of children: one process for each topic and GPU, each with a deadline.

torch is imported once, before the children are forked; none of its devices is touched here, so each child makes a
context of its own and takes it along when it is killed. A child says what it found in lines that carry its number; this
process says how each one ended. argv: {"rounds": [[child, …], …], "seconds": …, "watch": {…} or null}; a child:
{"id", "call": "gemm:measure", "arguments", "devices", "visible", "numbered", "deadline_s", "delay_s", "wedge",
"uuids"}.
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
import under_load
from gate import Gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from gate import Place

KILLED_WITHIN_S = 3.0
LOOK_S = 0.02


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

    def __init__(self, torch: Any, spec: dict[str, Any], place: Place) -> None:
        self.torch, self.devices, self._child = torch, _devices(torch, spec), spec["id"]
        self.meet = place.meet

    def say(self, **found: Any) -> None:
        markers.say(child=self._child, found=found)


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
        self.watch = heat.Watch(plan["watch"]) if plan.get("watch") else None
        self.loads = under_load.Loads()
        if self.watch is not None:
            self.watch.heard = []

    def stop_watching(self) -> None:
        if self.watch is not None:
            self.watch.end()

    def round(self, specs: list[dict[str, Any]]) -> None:
        """Run these side by side, to the end of all. Those of a group of which one was wedged are not begun.

        They begin together, but where one is to begin later than another.
        """
        self.children = [Child(spec) for spec in specs]
        gate = Gate(opened=any(spec.get("delay_s") for spec in specs))
        while not all(child.ended for child in self.children):
            for child in self.children:
                self._begin(child, gate)
            self._meet(gate)
            self._look_after(gate)
            time.sleep(LOOK_S)
        gate.close()

    def _meet(self, gate: Gate) -> None:
        """Whoever had to wait has all of its time from when the gate opens."""
        if gate.look([child.id for child in self.children if not child.ended]):
            for child in self.children:
                if child.id in gate.came:
                    child.deadline = time.monotonic() + child.spec["deadline_s"]

    def _begin(self, child: Child, gate: Gate) -> None:
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
                _become(self.torch, child.spec, gate)
            if self.watch is not None:
                self.watch.ours.add(child.pid)

    def _look_after(self, gate: Gate) -> None:
        for child in self.children:
            if child.pid and not child.ended:
                self._collect(child)
                waits = child.id in gate.came and not gate.is_open
                if not child.ended and not waits and time.monotonic() > child.deadline:
                    self._kill(child, f"no end within {child.spec['deadline_s']:g} s")
                elif not child.ended and time.monotonic() > self.until:
                    self._kill(child, "no time was left for it", wedged=False)
        for gpu, why in self._alarms():
            if not gpu and not self.stopped:
                self.stopped = why
                markers.say(stopped=why)
            for child in self.children:
                if child.pid and not child.ended and (not gpu or gpu in child.spec.get("uuids", ())):
                    self._kill(child, why, wedged=False)

    def _alarms(self) -> list[tuple[str, str]]:
        if self.watch is None:
            return []
        alarms = list(self.watch.alarms())
        running = [(child.id, child.spec.get("uuids", ())) for child in self.children if child.pid and not child.ended]
        for rows in self.watch.heard or ():
            self.loads.look(rows, running)
        self.watch.heard = []
        return alarms

    def _collect(self, child: Child) -> bool:
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if not pid:
            return False
        if loads := self.loads.of(child.id):
            markers.say(child=child.id, loads=loads)
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


def _devices(torch: Any, spec: dict[str, Any]) -> list[str]:
    """By their places among those that are shown; by number where all are, because this library read it earlier."""
    shown: list[str] = spec["devices"]
    numbered: list[str] = spec.get("numbered") or shown
    masked = not spec.get("visible") or torch.cuda.device_count() <= len(shown)
    return shown if masked else numbered


def _become(torch: Any, spec: dict[str, Any], gate: Gate) -> None:
    """In the child: measure, and end."""
    status = 1
    try:
        os.setsid()
        place = gate.place(spec["id"])
        alive.watch()
        os.environ.update(spec.get("visible") or {})
        module, _, name = spec["call"].partition(":")
        function = getattr(__import__(module), name)
        function(Stand(torch, spec, place), **spec.get("arguments", {}))
        status = 0
    except BaseException as error:
        markers.say(child=spec["id"], failed=markers.one_line(error))
    finally:
        os._exit(status)
