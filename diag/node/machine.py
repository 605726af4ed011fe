"""Which kernel, CPUs and cores does this node have?"""

from __future__ import annotations

import os

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def machine(root: str = "/") -> dict[str, Any]:
    """``cpus``: those this process may use; ``cores``: physical ones of the machine, None where /sys does not say."""
    uname = os.uname()
    return {
        "kernel": uname.release,
        "machine": uname.machine,
        "cpus": len(os.sched_getaffinity(0)),
        "cores": cores(os.path.join(root, "sys/devices/system/cpu")),
        "numa_nodes": numa_nodes(os.path.join(root, "sys/devices/system/node")),
    }


def cores(folder: str) -> int | None:
    """Sets of CPUs that share a core. A core is read once, through the first of its threads: half the reads."""
    seen: set[int] = set()
    count = 0
    for cpu in numbers(proc.line(os.path.join(folder, "online")) or ""):
        if cpu in seen:
            continue
        siblings = proc.line(os.path.join(folder, f"cpu{cpu}/topology/thread_siblings_list"))
        if siblings is None:
            return None
        seen.update(numbers(siblings))
        count += 1
    return count or None


def numa_nodes(folder: str) -> int | None:
    """NUMA nodes that have CPUs; GPUs may appear as nodes with memory only."""
    listed = proc.line(os.path.join(folder, "has_cpu")) or proc.line(os.path.join(folder, "online"))
    return len(numbers(listed)) if listed else None


def numbers(listed: str) -> list[int]:
    """``0-3,8`` -> 0 1 2 3 8."""
    found: list[int] = []
    for part in filter(None, listed.split(",")):
        low, _, high = part.partition("-")
        found.extend(range(int(low), int(high or low) + 1))
    return found
