"""What do all RDMA devices of this node share: driver stack, libraries, tools, namespaces, flow control?

Versions are read from files where there are any. Tools are run only where there is an HCA: ``ibv_devinfo`` for the MTU
of each port, perftest for what it was built with. The netlink socket would load the RDMA core, so it waits for that.
"""

from __future__ import annotations

import os
import re
import struct
import time

import containers
import dcb
import netlink
import proc
import rdma
import verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TOOLS = {
    "devinfo": ("ibv_devinfo",),
    "perftest": ("ib_write_bw", "--version"),
    "perftest_help": ("ib_write_bw", "--help"),
}
OUTPUT_AT_MOST = 65536
NETLINK_RDMA, NLDEV, SYS_GET, NETNS_MODE = 20, 5, 6, 66
"""linux/netlink.h, rdma/rdma_netlink.h."""
MODES = ("exclusive", "shared")


def system(seconds: float, root: str = "/") -> dict[str, Any]:
    """Each tool has ``seconds``. What is asked of the kernel is this machine's, so not of another ``root``."""
    here = root == "/"
    folder = os.path.join(root, rdma.CLASS)
    return {
        "ofed": _ofed(root),
        "verbs": containers.library("libibverbs.so.1", root),
        "namespaces": _namespaces() if here and os.path.isdir(folder) else None,
        "flow_control": {name: dcb.settings(name, root) for name in _interfaces(folder)} if here else {},
        **{name: _ran(argv, seconds) for name, argv in TOOLS.items()},
    }


def _interfaces(folder: str) -> list[str]:
    """Of all RDMA devices: those beside them on their cards, and the one under a soft device."""
    found = []
    for device in proc.names(folder):
        found += proc.names(os.path.join(folder, device, "device/net"))
        found.append(proc.line(os.path.join(folder, device, "parent")) or "")
    return sorted(set(filter(None, found)))


def _ofed(root: str) -> str | None:
    """Only MLNX_OFED and DOCA-OFED have this module; their drivers carry its version."""
    modules = os.path.join(root, "sys/module")
    if not os.path.isdir(os.path.join(modules, "mlx_compat")):
        return None
    version = proc.line(os.path.join(modules, "mlx5_core/version"))
    return version or proc.line(os.path.join(modules, "mlx_compat/version")) or "of unknown version"


def _namespaces() -> str | None:
    try:
        return namespace_mode(netlink.ask(NLDEV << 10 | SYS_GET, b"", NETLINK_RDMA))
    except (OSError, struct.error):
        return None


def namespace_mode(body: bytes) -> str | None:
    mode = dict(netlink.attributes(body)).get(NETNS_MODE)
    return MODES[min(mode[0], 1)] if mode else None


def _ran(argv: tuple[str, ...], seconds: float) -> Any:
    """``{"status", "stdout", "stderr"}``; None: not installed; text: why there is no answer."""
    environment = dict(os.environ, LC_ALL="C")
    environment["PATH"] = os.environ.get("PATH", os.defpath) + ":" + verbs.SYSTEM_FOLDERS
    folders = environment["PATH"].split(":")
    if not any(os.access(os.path.join(folder, argv[0]), os.X_OK) for folder in folders if folder):
        return None
    try:
        ended = verbs.run(list(argv), environment, OUTPUT_AT_MOST, time.monotonic() + seconds)
    except OSError as error:  # a TimeoutError is one too
        return f"{argv[0]}: {error}"
    if argv[-1] == "--help":
        ended["stdout"] = " ".join(sorted(set(re.findall(r"--[a-z][a-z0-9_-]*", ended["stdout"]))))
    return ended
