"""What does this machine lack to run the lab, a container, torch? One line, or nothing if it has all."""

from __future__ import annotations

import glob
import importlib.util
import os
import shutil

LAB_COMMANDS = ("sshd", "tini", "ip", "tc", "nft", "nsenter", "ssh", "iperf3")
DOCKER_COMMANDS = ("dockerd", "docker", "mmdebstrap")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing_for_lab() -> str:
    return _missing(LAB_COMMANDS, _libfaketime())


def missing_for_docker() -> str:
    return _missing(DOCKER_COMMANDS)


def missing_for_torch() -> str:
    return "" if importlib.util.find_spec("torch") else "torch is not installed here; make does it"


def _libfaketime() -> tuple[str, ...]:
    return () if glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1") else ("libfaketime",)


def _missing(commands: tuple[str, ...], others: tuple[str, ...] = ()) -> str:
    if os.geteuid() != 0:
        return "needs root"
    absent = tuple(one for one in commands if shutil.which(one, path=f"{os.environ['PATH']}:{SYSTEM_PATH}") is None)
    return f"not found: {', '.join(absent + others)}; make lab-deps installs them" if absent + others else ""
