"""Which resource limits does the agent's own process have? A collective started from it inherits them."""

from __future__ import annotations

import resource

NAMES = {
    "memlock": resource.RLIMIT_MEMLOCK,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
    "stack": resource.RLIMIT_STACK,
}


def limits() -> dict[str, list[int | None]]:
    """Name -> [soft, hard]; None: unlimited."""
    return {name: [_limit(value) for value in resource.getrlimit(which)] for name, which in NAMES.items()}


def _limit(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY or value < 0 else value
