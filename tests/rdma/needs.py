"""What does this machine lack to boot the two machines? One line, or nothing if it has all."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path

COMMANDS = ("qemu-system-x86_64", "mmdebstrap", "cpio", "depmod", "modprobe", "setpriv", "ssh")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing_for_rdma() -> str:
    if os.geteuid() != 0:
        return "needs root"
    return cannot_be_had()


def cannot_be_had() -> str:
    """Why no continuous integration could run them here: the only reason for which it may skip them."""
    if platform.machine() != "x86_64" or not Path("/etc/debian_version").exists() or not release():
        return "the machines are made of Debian's packages for amd64, and this is another system"
    absent = [one for one in COMMANDS if shutil.which(one, path=f"{os.environ['PATH']}:{SYSTEM_PATH}") is None]
    return f"not found: {', '.join(absent)}; make rdma-deps installs them" if absent else ""


def release() -> str:
    """``bookworm``; empty on what is not Debian."""
    said = dict(line.partition("=")[::2] for line in Path("/etc/os-release").read_text().splitlines())
    return said.get("VERSION_CODENAME", "") if said.get("ID") == "debian" else ""
