"""Which processes run in a host, seen from this machine, and how do they end?"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Process:
    """``pid`` is this machine's number, ``pid_inside`` the host's; ``state`` as in proc(5)."""

    pid: int
    pid_inside: int
    started: int
    state: str
    argv: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.pid_inside} {' '.join(self.argv)[:200]}"


def in_pid_namespace_of(pid: int) -> tuple[Process, ...]:
    wanted = os.readlink(f"/proc/{pid}/ns/pid")
    return tuple(process for other in _members("pid", {wanted}) if (process := _read(other)) is not None)


def in_network_namespaces(paths: Collection[Path]) -> tuple[int, ...]:
    """Pids of who lives in the named network namespaces."""
    wanted = set()
    for path in paths:
        with contextlib.suppress(OSError):
            wanted.add(f"net:[{path.stat().st_ino}]")
    return tuple(_members("net", wanted))


def _members(kind: str, wanted: set[str]) -> Iterator[int]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if os.readlink(f"/proc/{entry}/ns/{kind}") in wanted:
                    yield int(entry)


def _read(pid: int) -> Process | None:
    try:
        argv = Path(f"/proc/{pid}/cmdline").read_bytes()
        after_name = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return None
    inside = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[-1]
    words = tuple(word.decode(errors="replace") for word in argv.rstrip(b"\0").split(b"\0"))
    return Process(pid=pid, pid_inside=int(inside), started=int(after_name[19]), state=after_name[0], argv=words)


def kill_all(pids: Collection[int], patience_s: float = 10) -> None:
    """Kill, and wait until each has let go of all it held (a process that is not ours can be awaited by a pidfd)."""
    handles = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            handles.append(os.pidfd_open(pid))
            os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + patience_s
    for handle in handles:
        select.select([handle], [], [], max(0.0, end - time.monotonic()))
        os.close(handle)
