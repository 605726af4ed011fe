"""Which processes did we start, and how are all of them ended? By ancestry, and by the mark in their environment."""

import os
import signal
import time

MARK = "DIAG_JOB"
LIMIT_S = 4.0

ended = {}
"""Wait status of every child that ended and was not asked for yet."""


def running():
    """``{pid: (parent's pid, start in clock ticks)}`` of every process that has a thread left."""
    found = {}
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        fields = _stat(pid)
        if len(fields) > 19 and (fields[0] not in ("Z", "X") or _has_threads(pid)):
            found[pid] = (int(fields[1]), int(fields[19]))
    return found


def below(roots, processes):
    """The pids of all processes under ``roots``, not the roots themselves."""
    children = {}
    for pid, (parent, _) in processes.items():
        children.setdefault(parent, []).append(pid)
    found, waiting = set(), list(roots)
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            if pid not in found:
                found.add(pid)
                waiting.append(pid)
    return found


def marked(mark, processes, since_ticks):
    """Those started with ``DIAG_JOB`` beginning with ``mark``. Older processes are not read: reading one that hangs
    with its memory map locked would hang us too."""
    start = "{}={}".format(MARK, mark).encode()
    return {pid for pid, (_, ticks) in processes.items() if ticks >= since_ticks and _carries(pid, start)}


def start_ticks(pid):
    fields = _stat(pid)
    return int(fields[19]) if len(fields) > 19 else 0


def end(find, limit_s=LIMIT_S):
    """SIGKILL whatever ``find()`` returns until it returns nothing; a line for each process that stays."""
    until = time.monotonic() + limit_s
    pause_s = 0.001
    while True:
        pids = find()
        if not pids or time.monotonic() > until:
            return [describe(pid) for pid in sorted(pids)]
        for pid in pids:
            kill(pid)
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.05)
        reap()


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # gone, or not ours to kill: the last look says so


def reap():
    """Collect the children that ended into ``ended``."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        ended[pid] = status


def describe(pid):
    fields = _stat(pid)
    name = _read("/proc/{}/comm".format(pid)).decode("utf-8", "replace").strip()
    return "process {} ({}), state {}, could not be ended".format(pid, name or "?", fields[0] if fields else "gone")


def _carries(pid, start):
    environ = _read("/proc/{}/environ".format(pid))
    return environ.startswith(start) or b"\0" + start in environ


def _has_threads(pid):
    """A zombie whose other threads still hang in the kernel is not gone."""
    try:
        return len(os.listdir("/proc/{}/task".format(pid))) > 1
    except OSError:
        return False


def _stat(pid):
    """State, parent, … of /proc/PID/stat; the name before them may hold any character."""
    return _read("/proc/{}/stat".format(pid)).rpartition(b")")[2].decode("ascii", "replace").split()


def _read(path):
    try:
        with open(path, "rb", 0) as file:
            return file.read()
    except OSError:
        return b""
