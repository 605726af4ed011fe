"""What can be handed to a container that is started here: device files, toolkits, limits, the model's folders?"""

from __future__ import annotations

import os
import re

import proc
import verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILES = (
    "infiniband", "nvidiactl", "kfd", "dri", "mkfd", "mxcd", "davinci_manager", "devmm_svm", "hisi_hdc",
)  # fmt: skip
"""Under /dev, single ones or folders; of Ascend's NPUs a file each beside them."""
NPU = re.compile(r"davinci[0-9]+")
DRIVERS = {
    "davinci_manager": (
        "/usr/local/dcmi", "/usr/local/bin/npu-smi", "/usr/local/Ascend/driver/lib64",
        "/usr/local/Ascend/driver/version.info", "/etc/ascend_install.info",
    ),
    "mkfd": ("/opt/hyhal",),
}  # fmt: skip
"""Device file -> what images of that vendor (Ascend, Hygon) expect of the host's driver at the same place."""
DRIVER = "proc/driver/nvidia/version"
TOOLS = ("nvidia-container-runtime-hook", "nvidia-container-toolkit", "nvidia-container-cli", "nvidia-ctk")
CDI = ("etc/cdi", "var/run/cdi")
KIND = re.compile(r"(?:^|[{,])\s*\"?kind\"?\s*:\s*\"?([\w./-]+)", re.MULTILINE)
SPEC_BYTES = 1 << 22
MOST_OPEN = 1048576
"""Of files, where the kernel says nothing else: its own fs.nr_open."""
MOST_FOLDERS = 64


def containables(model: str | None = None, root: str = "/") -> dict[str, Any]:
    """``model``: its path here. Absolute names, as the runtime's command line wants them."""
    there = proc.names(os.path.join(root, "dev"))
    devices = ["/dev/" + name for name in there if name in FILES or NPU.fullmatch(name)]
    return {
        "devices": sorted(devices),
        "drivers": [path for name in there for path in DRIVERS.get(name, ()) if os.path.exists(root + path[1:])],
        "groups": sorted({gid for name in devices for gid in _groups(os.path.join(root, name[1:]))} - {0}),
        "nvidia": "/dev/nvidiactl" in devices or os.path.exists(os.path.join(root, DRIVER)),
        "tools": [tool for tool in TOOLS if _is_on_path(tool)],
        "cdi": sorted({kind for folder in CDI for kind in _kinds(os.path.join(root, folder))}),
        "root": os.getuid() == 0,
        "most_open": int(proc.line(os.path.join(root, "proc/sys/fs/nr_open")) or MOST_OPEN),
        "folders": _folders(model) if model is not None else [],
    }


def _groups(path: str) -> set[int]:
    """Of a device file, or of all in its folder: who is no root in the container has to be in them."""
    try:
        inside = [os.path.join(path, name) for name in os.listdir(path)] if os.path.isdir(path) else [path]
        return {os.stat(one).st_gid for one in inside if not os.path.isdir(one)}
    except OSError:
        return set()


def _is_on_path(tool: str) -> bool:
    path = os.environ.get("PATH", os.defpath) + ":" + verbs.SYSTEM_FOLDERS
    return any(os.access(os.path.join(folder, tool), os.X_OK) for folder in path.split(":"))


def _kinds(folder: str) -> list[str]:
    """The kinds of devices of which CDI specifications speak: ``nvidia.com/gpu``."""
    found = []
    for name in proc.names(folder):
        if name.endswith((".json", ".yaml", ".yml")):
            try:
                found += KIND.findall(proc.text(os.path.join(folder, name), SPEC_BYTES))
            except OSError:
                continue
    return found


def _folders(model: str) -> list[list[str]]:
    """``[folder here, where it must lie inside]``: the model's own, and those into which its links lead.

    A cache of Hugging Face keeps the files apart (``../../blobs``) and has nothing but links in the model's folder.
    """
    if not os.path.isdir(model):
        return [[model, model]] if os.path.exists(model) else []
    folders = {model.rstrip("/") or "/": model}
    for name in sorted(os.listdir(model)):
        path = os.path.join(model, name)
        if os.path.islink(path) and os.path.exists(path):
            seen = os.path.dirname(os.path.normpath(os.path.join(model, os.readlink(path))))
            if not (seen + "/").startswith(model.rstrip("/") + "/"):
                folders.setdefault(seen, os.path.dirname(os.path.realpath(path)))
    return [[here, inside] for inside, here in list(folders.items())[:MOST_FOLDERS]]
