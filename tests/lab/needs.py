"""What does this machine lack to run the lab, a container, torch? One line, or nothing if it has all."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

LAB_COMMANDS = ("sshd", "tini", "ip", "tc", "nft", "nsenter", "ssh", "ping", "iperf3")
DOCKER_COMMANDS = ("dockerd", "docker", "containerd", "runc")
CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21  # capability.h
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing_for_lab() -> str:
    return _missing(LAB_COMMANDS, _libfaketime())


def missing_for_docker() -> str:
    return missing_for_lab() or _missing(DOCKER_COMMANDS)


def missing_for_torch() -> str:
    return "" if importlib.util.find_spec("torch") else "torch is not installed here; make does it"


@cache
def missing_for_gpu() -> str:
    """Asked in a process of its own: a driver may hang."""
    ask = "import sys, torch; sys.exit(0 if torch.cuda.is_available() else 3)"
    try:
        done = subprocess.run([sys.executable, "-c", ask], check=False, capture_output=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "torch did not say within 120 s whether there is a GPU"
    return "" if done.returncode == 0 else "torch sees no GPU here"


def _libfaketime() -> tuple[str, ...]:
    return () if list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")) else ("libfaketime",)


def _missing(commands: tuple[str, ...], others: tuple[str, ...] = ()) -> str:
    if os.geteuid() != 0:
        return "needs root"
    if not _may_make_namespaces():
        return "this root may not mount or make networks (a container without --privileged?)"
    absent = tuple(one for one in commands if shutil.which(one, path=f"{os.environ['PATH']}:{SYSTEM_PATH}") is None)
    return f"not found: {', '.join(absent + others)}; make lab-deps installs them" if absent + others else ""


def _may_make_namespaces() -> bool:
    status = Path("/proc/self/status").read_text().splitlines()
    effective = int(next(line for line in status if line.startswith("CapEff:")).split()[1], 16)
    return bool(effective >> CAP_NET_ADMIN & effective >> CAP_SYS_ADMIN & 1)
