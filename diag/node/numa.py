"""Which NUMA node is a device on, which is the farthest from it, and how does a process come to run there?"""

from __future__ import annotations

import glob
import os

import proc


def of_device(pci_address: str, root: str = "/") -> int | None:
    """None: there is no such device, or the kernel does not know its node."""
    if not pci_address:
        return None
    domain, _, rest = pci_address.lower().partition(":")
    path = os.path.join(root, "sys/bus/pci/devices", f"{domain[-4:]:0>4}:{rest}", "numa_node")
    line = proc.line(path)
    return int(line) if line and line.isdigit() else None  # -1 is: not known


def farthest(own: int | None, root: str = "/") -> int | None:
    """By the kernel's distances; None: there is one node only, or ``own`` is not known."""
    if own is None:
        return None
    line = proc.line(os.path.join(root, f"sys/devices/system/node/node{own}/distance")) or ""
    names = glob.glob(os.path.join(root, "sys/devices/system/node/node[0-9]*"))
    numbers = sorted(int(os.path.basename(name)[4:]) for name in names)
    others = [
        (int(distance), number)
        for number, distance in zip(numbers, line.split())
        if number != own and _cpus(number, root)
    ]
    return max(others)[1] if others else None


def stay_on(node: int, root: str = "/") -> None:
    """Run on its CPUs from now on. Raises OSError where none of them is allowed."""
    os.sched_setaffinity(0, _cpus(node, root))


def _cpus(node: int, root: str) -> set[int]:
    """``0-3,8`` -> {0, 1, 2, 3, 8}; empty: memory without CPUs."""
    cpus: set[int] = set()
    for part in (proc.line(os.path.join(root, f"sys/devices/system/node/node{node}/cpulist")) or "").split(","):
        first, _, last = part.strip().partition("-")
        if first:
            cpus |= set(range(int(first), int(last or first) + 1))
    return cpus
