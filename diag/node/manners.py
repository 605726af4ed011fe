"""How does the agent keep out of the way of the node's real work? Everything that it starts inherits this."""

from __future__ import annotations

import contextlib
import os

NICE = 10
PR_SET_CHILD_SUBREAPER = 36
IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "ppc64le": 273, "s390x": 282}
IDLE_CLASS = 3 << 13


def be_modest() -> None:
    """Last in the queue for CPUs, first to go when memory runs out, no core file."""
    import resource

    os.nice(max(0, NICE - os.nice(0)))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")


def idle_on_disks() -> None:
    """Last in the queue of the disks: for this thread, and what it starts from now on."""
    import ctypes

    call = IOPRIO_SET.get(os.uname().machine)
    if call is not None:
        ctypes.CDLL(None).syscall(call, 1, 0, IDLE_CLASS)


def adopt_orphans() -> None:
    """Become the parent of whatever our children leave behind."""
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
