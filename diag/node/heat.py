"""Does a GPU get too hot under load, or does somebody else begin to use it? Asked of NVML, twice a second.

NVML is asked in a process of its own, as it may hang: then nothing is heard, and that is an answer too.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time

import descendants
import gpus
import own_code
import under_load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterator

CHILD = "import sys; sys.path.insert(0, sys.argv[1]); import pynvml, heat; heat.look(pynvml)"
EVERY_S = 0.5
"""A level quick loads each GPU for a second."""
SILENT_S = 6.0


class Watch:
    """``wish``: {"stop_c": {uuid: °C}, "newcomers": whether to look for them, "known": pids or null}.

    Where "stop_c" names any, "below_c" says by how far that is below where a GPU slows itself down.

    And of an onlooker: "token", which all of ours carry in their environment; "inside": some of them are in a
    container, so what cannot be read may be ours.

    ``ours``: every process of ours that there ever was: NVML may speak of one that has ended meanwhile. ``looks``:
    NVML told of the GPUs at least once.
    """

    def __init__(self, wish: dict[str, Any]) -> None:
        root = wish.get("root") or "/"
        self.stop_c, self.newcomers = wish["stop_c"], wish["newcomers"]
        self.below_c = wish.get("below_c", 0)
        self.known = None if wish.get("known") is None else set(wish["known"])
        self.token, self.inside = wish.get("token", ""), wish.get("inside", False)
        self.ours: set[int] = set()
        self.heard: list[list[dict[str, Any]]] | None = None
        """What was heard of the GPUs; None: nobody reads it. Whoever does empties it."""
        self.looks = False
        self._lines, self.pid = b"", 0
        self._heard = time.monotonic()
        self._out, end = os.pipe()
        os.set_blocking(self._out, False)
        if gpus.proven_absent(root):
            os.write(end, b'{"why": "no NVIDIA GPU"}\n')
        else:
            self.pid = os.fork()
            if self.pid == 0:
                _become(end)
        os.close(end)

    def alarms(self) -> Iterator[tuple[str, str]]:
        """(uuid, why) of a GPU that is too hot; ("", why) where all has to end."""
        with contextlib.suppress(BlockingIOError):
            self._lines += os.read(self._out, 1 << 20)
        *lines, self._lines = self._lines.split(b"\n")
        for line in lines:
            self._heard = time.monotonic()
            yield from self.judge(json.loads(line))
        if time.monotonic() - self._heard > SILENT_S:
            yield from self.judge({"why": f"NVML did not answer within {SILENT_S:.0f} s"})

    def judge(self, said: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """One answer of NVML: its GPUs as nvml.py writes them, or why there is none."""
        if "why" in said and "gpus" not in said:
            if self.stop_c:
                yield "", f"the temperature cannot be watched: {said['why']}"
            return
        if self.heard is not None:
            self.heard.append(said["gpus"])
        for row in said["gpus"]:
            if row.get("uuid") in self.stop_c and (why := self._too_hot(row)):
                yield row["uuid"], why
        for uuid in sorted(self.stop_c.keys() - {row.get("uuid") for row in said["gpus"]}):
            yield uuid, "its temperature cannot be watched: NVML names it no more"
        yield from self._strangers(said["gpus"])
        self.looks = True

    def _too_hot(self, row: dict[str, Any]) -> str:
        """By how far it is to its limit, where it says that; a limit found while it was idle would be another one."""
        left_c, now_c = row.get("margin_c"), row.get("temperature_c")
        if left_c is not None:
            return f"stopped {left_c} °C below where it slows itself down" if left_c <= self.below_c else ""
        if now_c is None:
            return "its temperature cannot be watched"
        if now_c >= self.stop_c[row["uuid"]]:
            return f"stopped at {now_c} °C, {self.below_c} °C below where it slows itself down"
        return ""

    def _strangers(self, rows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
        if not self.newcomers:
            return
        pids = {process["pid"] for row in rows for process in row.get("processes") or ()}
        self.ours |= descendants.below([os.getpid()], descendants.running()) | {os.getpid()}
        others = filter(lives, pids - self.ours)
        strangers = {pid for pid in others if not self.token or self._is_foreign(pid)}
        if self.known is None:
            self.known = strangers
        elif strangers - self.known:
            yield "", f"another process began to use a GPU (pid {min(strangers - self.known)})"

    def _is_foreign(self, pid: int) -> bool:
        """Whether it lives and is none of ours; a host's plain user cannot read what runs as root in a container."""
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read().split(b"\0")
        except PermissionError:
            return not self.inside
        except OSError:  # it has ended meanwhile
            return False
        return not any(line.startswith(f"{descendants.MARK}={self.token}".encode()) for line in environment)

    def end(self) -> None:
        if self.pid:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        os.close(self._out)


def lives(pid: int) -> bool:
    """Also where /proc hides the processes of others (hidepid)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        pass
    return True


def _become(out: int) -> None:
    try:
        os.dup2(out, 1)
        os.execv(sys.executable, [sys.executable, "-B", "-c", CHILD, own_code.place()])  # noqa: S606 - no shell is wanted
    finally:
        os._exit(127)


def look(nv: Any) -> None:
    """In the child: two lines a second, or one that says why there is none."""
    import alive
    import nvml_health
    import nvml_identity

    alive.watch()
    answer = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    reads = {
        "uuid": nvml_identity.READS["uuid"],
        "processes": nvml_identity.READS["processes"],
        "temperature_c": nvml_health.READS["temperature_c"],
        "margin_c": nvml_health.margin,
        **under_load.reads(),
    }
    try:
        nv.nvmlInit()
        handles = [nv.nvmlDeviceGetHandleByIndex(index) for index in range(nv.nvmlDeviceGetCount())]
    except nv.NVMLError as error:
        os.write(answer, json.dumps({"why": str(error)}).encode() + b"\n")
        return
    while True:
        rows = [{name: _answer(nv, read, handle) for name, read in reads.items()} for handle in handles]
        os.write(answer, json.dumps({"gpus": rows}).encode() + b"\n")
        time.sleep(EVERY_S)


def _answer(nv: Any, read: Callable[[Any, Any], Any], handle: Any) -> Any:
    try:
        return read(nv, handle)
    except nv.NVMLError:
        return None
