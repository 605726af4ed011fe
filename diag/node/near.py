"""How does a program run on the CPUs near an RDMA device? This process becomes it.

From the far socket a healthy device is slow: its memory and its doorbells lie behind the link between sockets. Where
those CPUs are not ours the program runs as it would have.
"""

from __future__ import annotations

import contextlib
import os
import sys

import numa
import proc


def main() -> None:
    """argv: the device, the program and its words."""
    device, argv = sys.argv[1], sys.argv[2:]
    stay_near(device)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - no shell is wanted
    except OSError as error:
        print(f"diag: cannot start {argv[0]}: {error}", file=sys.stderr, flush=True)
        os._exit(127)


def stay_near(device: str, root: str = "/") -> list[int]:
    """Run on its CPUs from now on; which those are. Empty: they are not known, or none of them is ours."""
    line = proc.line(os.path.join(root, "sys/class/infiniband", device, "device/local_cpulist"))
    cpus = numa.listed(line or "")
    if cpus:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, cpus)
    return sorted(cpus)
