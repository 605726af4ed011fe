"""Which resource limits does the agent's own process have? A collective started from it inherits them."""

from __future__ import annotations

import resource

import proc

NAMES = {
    "memlock": resource.RLIMIT_MEMLOCK,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "stack": resource.RLIMIT_STACK,
}


CAP_IPC_LOCK = 14
"""Number of the capability (include/uapi/linux/capability.h): who has it may lock all memory, whatever the limit."""


def limits() -> dict[str, list[int | None] | bool | None]:
    """Name -> [soft, hard]; None: unlimited. ``ipc_lock``: whether the memlock limit is not for us; None: not known."""
    found: dict[str, list[int | None] | bool | None] = {"ipc_lock": may_lock_all()}
    for name, which in NAMES.items():
        found[name] = [_limit(value) for value in resource.getrlimit(which)]
    return found


def may_lock_all(status: str = "/proc/self/status", uid_map: str = "/proc/self/uid_map") -> bool | None:
    """The kernel asks for the capability in the first user namespace; one of a container's own counts for nothing."""
    try:
        effective = next(line for line in proc.text(status).splitlines() if line.startswith("CapEff:"))
        held = bool(int(effective.split(":")[1], 16) >> CAP_IPC_LOCK & 1)
        return held and proc.text(uid_map).split() == ["0", "0", "4294967295"]
    except (OSError, StopIteration, ValueError):
        return None


def _limit(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY or value < 0 else value
