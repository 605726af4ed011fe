"""Which processes did we start, and how are all of them ended? By ancestry, and by the mark in their environment."""

from __future__ import annotations

import contextlib
import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MARK = "DIAG_JOB"
LIMIT_S = 4.0
STATE, PARENT, START = 0, 1, 19  # fields of /proc/PID/stat behind the name

ended: dict[int, int] = {}
"""Wait status of every child that ended and was not asked for yet."""


def running() -> dict[int, tuple[int, int]]:
    """``{pid: (parent's pid, start in clock ticks)}`` of every process that has a thread left."""
    found = {}
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        fields = _stat(pid)
        if len(fields) > START and (fields[STATE] not in ("Z", "X") or _has_threads(pid)):
            found[pid] = (int(fields[PARENT]), int(fields[START]))
    return found


def below(roots: Iterable[int], processes: dict[int, tuple[int, int]]) -> set[int]:
    """The pids of all processes under ``roots``, not the roots themselves."""
    children: dict[int, list[int]] = {}
    for pid, (parent, _) in processes.items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            if pid not in found:
                found.add(pid)
                waiting.append(pid)
    return found


def marked(mark: str, processes: dict[int, tuple[int, int]], since: int) -> set[int]:
    """Those started with ``DIAG_JOB`` beginning with ``mark``, none older than ``since`` (clock ticks).

    Older ones are not even read: reading a process that hangs with its memory map locked would hang us too.
    """
    start = f"{MARK}={mark}".encode()
    return {pid for pid, (_, ticks) in processes.items() if ticks >= since and _carries(pid, start)}


def start_ticks(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[START]) if len(fields) > START else 0


def end(find: Callable[[], set[int]], limit_s: float = 0) -> list[str]:
    """SIGKILL whatever ``find()`` returns until it returns nothing; a line for each process that stays."""
    until = time.monotonic() + (limit_s or LIMIT_S)
    pause_s = 0.001
    while True:
        pids = find()
        if not pids or time.monotonic() > until:
            return [_described(pid) for pid in sorted(pids)]
        for pid in pids:
            kill(pid)
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.05)
        reap()


def kill(pid: int) -> None:
    with contextlib.suppress(OSError):  # gone, or not ours to kill: the last look says so
        os.kill(pid, signal.SIGKILL)


def reap() -> None:
    """Collect the children that ended into ``ended``."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            ended[pid] = status


def _described(pid: int) -> str:
    fields = _stat(pid)
    name = _read(f"/proc/{pid}/comm").decode("utf-8", "replace").strip()
    return f"process {pid} ({name or '?'}), state {fields[STATE] if fields else 'gone'}, could not be ended"


def _carries(pid: int, start: bytes) -> bool:
    environ = _read(f"/proc/{pid}/environ")
    return environ.startswith(start) or b"\0" + start in environ


def _has_threads(pid: int) -> bool:
    """A zombie whose other threads still hang in the kernel is not gone."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def _stat(pid: int) -> list[str]:
    """State, parent, … of /proc/PID/stat; the name before them may hold any character."""
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].decode("ascii", "replace").split()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", 0) as file:
            return file.read()
    except OSError:
        return b""
