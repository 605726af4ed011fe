"""Which NUMA node is a device on, which is the farthest from it, and how does a process come to run there?

Of the CPUs those count that this process may use: a cpuset, or who started us, may have left us but some.
"""

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
    """By the kernel's distances; None: we may use no other node, or ``own`` is not known."""
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


def stay_on(node: int, root: str = "/") -> bool:
    """Run on its CPUs from now on. False: we may use none of them, and stay where we are."""
    cpus = _cpus(node, root)
    if cpus:
        os.sched_setaffinity(0, cpus)
    return bool(cpus)


def of_us(root: str = "/") -> int | None:
    """Where we run; None: on several."""
    names = glob.glob(os.path.join(root, "sys/devices/system/node/node[0-9]*"))
    ours = [number for number in (int(os.path.basename(name)[4:]) for name in names) if _cpus(number, root)]
    return ours[0] if len(ours) == 1 else None


def _cpus(node: int, root: str) -> set[int]:
    """Empty: memory without CPUs, or none that we may use."""
    return listed(proc.line(os.path.join(root, f"sys/devices/system/node/node{node}/cpulist")) or "")


def listed(text: str) -> set[int]:
    """``0-3,8`` -> {0, 1, 2, 3, 8}, those that we may use."""
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first:
            cpus |= set(range(int(first), int(last or first) + 1))
    return cpus & os.sched_getaffinity(0)
