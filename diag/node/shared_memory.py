"""Which files in /dev/shm would killed processes leave? NCCL and OpenMP remove theirs only when they end in peace."""

from __future__ import annotations

import contextlib
import os

FOLDER = "/dev/shm"  # noqa: S108 - looked at, and only what our own processes made is removed


def names() -> set[str]:
    """What lies there now: none of it is ours."""
    try:
        return set(os.listdir(FOLDER))
    except OSError:
        return set()


def opened_by(pids: set[int], older: set[str]) -> set[str]:
    """Files there that these processes have open or mapped, and that are not among the ``older`` names."""
    paths = {path for pid in pids for path in _mapped(pid) | _open(pid)}
    return {path for path in paths if os.path.dirname(path) == FOLDER and os.path.basename(path) not in older}


def remove(paths: set[str]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)


def _mapped(pid: int) -> set[str]:
    prefix = FOLDER + "/"
    try:
        with open(f"/proc/{pid}/maps", errors="surrogateescape") as file:
            return {prefix + line.rstrip("\n").partition(prefix)[2] for line in file if prefix in line}
    except OSError:
        return set()


def _open(pid: int) -> set[str]:
    found = set()
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    except OSError:
        pass
    return found
