"""Which processes run in a host, seen from this machine, and how do they end?"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

NS_GET_PARENT = 0xB702  # ioctl_ns(2)
GONE = ""  # the namespace of a process that ended while we looked


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


def below(pid: int) -> tuple[Process, ...]:
    """The processes in the pid namespace whose PID 1 is ``pid`` here, and in those below it (containers)."""
    top, depth = _namespace(pid, "pid"), len(_nested_pids(pid)) - 1
    inside = {top: True, GONE: False}
    found = []
    for other in _pids():
        with contextlib.suppress(OSError, StopIteration):  # it ended meanwhile
            own = _namespace(other, "pid")
            if own not in inside:
                inside[own] = _is_below(other, top)
            if inside[own]:
                found.append(_read(other, depth))
    return tuple(found)


def in_network_namespaces(paths: Collection[Path]) -> tuple[int, ...]:
    """Pids of who lives in the named network namespaces."""
    wanted = set()
    for path in paths:
        with contextlib.suppress(OSError):
            wanted.add(f"net:[{path.stat().st_ino}]")
    return tuple(pid for pid in _pids() if _namespace(pid, "net") in wanted)


def _pids() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _namespace(pid: int, kind: str) -> str:
    with contextlib.suppress(OSError):
        return str(Path(f"/proc/{pid}/ns/{kind}").readlink())
    return GONE


def _is_below(pid: int, top: str) -> bool:
    handle = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)
    try:
        while str(Path(f"/proc/self/fd/{handle}").readlink()) != top:
            parent = fcntl.ioctl(handle, NS_GET_PARENT)
            os.close(handle)
            handle = parent
        return True
    except PermissionError:  # the parent of our own namespace is not for us to see
        return False
    finally:
        os.close(handle)


def _nested_pids(pid: int) -> list[int]:
    """One pid for each nested namespace that the process is in, ours first."""
    status = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    return list(map(int, next(line for line in status if line.startswith("NSpid:")).split()[1:]))


def _read(pid: int, depth: int) -> Process:
    after_name = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    argv = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    return Process(
        pid=pid,
        pid_inside=_nested_pids(pid)[depth],
        started=int(after_name[19]),
        state=after_name[0],
        argv=tuple(word.decode(errors="replace") for word in argv),
    )


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
