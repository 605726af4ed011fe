"""What of this system decides whether GPUs work: modules, driver, IOMMU, bridges, files, daemons? Read, not run."""

from __future__ import annotations

import os

import pci
import proc
import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MODULES = (
    "nvidia", "nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia_peermem", "nv_peer_mem", "nvidia_fs", "gdrdrv",
    "nouveau", "nova_core", "vfio_pci", "amdgpu", "metax", "ib_core", "ib_uverbs", "mlx5_ib", "iommu_v2",
)  # fmt: skip
DAEMONS = {
    "nv-fabricmanage": "fabric_manager", "nvidia-persiste": "persistence", "nvidia-cuda-mps": "mps",
    "nv-hostengine": "hostengine",
}  # fmt: skip
"""As the kernel keeps the name, 15 characters at most."""
NVIDIA_FILES = ("nvidiactl", "nvidia-uvm")
"""Every CUDA program opens these beside the file of each GPU."""
LIBRARY = "libnvidia-ml.so.1"
FOLDERS = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib/wsl/lib", "usr/lib")
MODULES_AT_MOST = 1 << 18
EXTENDED, ACS, SIZE_NEEDED = 0x100, 0x0D, 0x104
REDIRECTS = 0x0C
"""Of the ACS control register: peers' requests and completions go through the root (PCIe base spec, 7.7.8.3)."""
MPS_PIPE = "tmp/nvidia-mps/control"


def system(root: str = "/") -> dict[str, Any]:
    """``{"absent": true}`` without an accelerator or a device file of one. Raises OSError where the bus is closed."""
    found = pci.devices(root)
    if not found["files"] and not any(row["kind"] == "accelerator" for row in found["devices"]):
        return {"absent": True}
    nvidia = any(row["vendor"] == "nvidia" and row["kind"] == "accelerator" for row in found["devices"])
    return {
        "modules": _modules(root),
        "driver_text": proc.line(os.path.join(root, "proc/driver/nvidia/version")),
        "driver": proc.line(os.path.join(root, "sys/module/nvidia/version")),
        "library": library(root),
        "nvswitches": found["nvswitches"],
        "iommu": _iommu(root, found["devices"]),
        "command_line": proc.line(os.path.join(root, "proc/cmdline")),
        "bridges": _bridges(root, found["devices"]),
        "files": closed_files(root) if nvidia else [],
        **_daemons(root),
    }


def _modules(root: str) -> list[str] | None:
    """None: neither /proc/modules nor /sys/module can be read."""
    try:
        rows = proc.text(os.path.join(root, "proc/modules"), MODULES_AT_MOST).splitlines()
        loaded = {row.split(" ", 1)[0] for row in rows}
    except OSError:
        loaded = set(proc.names(os.path.join(root, "sys/module")))
        if not loaded:
            return None
    return [name for name in MODULES if name in loaded]


def library(root: str = "/") -> str | None:
    """Version of the NVML library that the loader would take, by its file's name: ``libnvidia-ml.so.570.158.01``."""
    own = filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))
    for folder in (*own, *(os.path.join(root, folder) for folder in FOLDERS)):
        place = os.path.join(folder, LIBRARY)
        if os.path.exists(place):
            version = os.path.basename(os.path.realpath(place)).partition(".so.")[2]
            return version if "." in version else None
    return None


def _iommu(root: str, devices: list[dict[str, Any]]) -> list[list[str | None]]:
    """[address, type of its IOMMU group, None: in no group] of each accelerator and HCA; ``""``: cannot be read."""
    rows: list[list[str | None]] = []
    for row in devices:
        group = os.path.join(root, "sys/bus/pci/devices", row["address"], "iommu_group")
        kind = None if not os.path.lexists(group) else proc.line(os.path.join(group, "type")) or ""
        rows.append([row["address"], kind])
    return rows


def _bridges(root: str, devices: list[dict[str, Any]]) -> list[list[Any]]:
    """[address, whether ACS redirects, None: it has no ACS, or why that is not known] of each below a root port."""
    below = sorted({part for row in devices for part in row["path"][2:]})
    return [[address, _acs(os.path.join(root, "sys/bus/pci/devices", address, "config"))] for address in below]


def _acs(path: str) -> bool | str | None:
    """From configuration space, of which others than root see the first 64 bytes."""
    try:
        with open(path, "rb") as file:
            space = file.read(4096)
    except OSError as error:
        return f"needs root ({error.strerror})" if isinstance(error, PermissionError) else str(error.strerror)
    if len(space) < SIZE_NEEDED:
        return "needs root"
    at = EXTENDED
    for _ in range(64):  # a ring in a broken device ends here
        header = int.from_bytes(space[at : at + 4], "little")
        if header & 0xFFFF == ACS:
            return bool(int.from_bytes(space[at + 6 : at + 8], "little") & REDIRECTS)
        at = header >> 20
        if at < EXTENDED or at + 8 > len(space):
            return None
    return None


def closed_files(root: str = "/") -> list[str]:
    """Device files that a CUDA program needs and this user may not open, each with why."""
    present = [path[5:] for path in pci.files(root) if path[5:].startswith("nvidia")]
    rows = []
    for name in (*sorted(present), *NVIDIA_FILES):
        path = os.path.join(root, "dev", name)
        why = _why_closed(path, try_it=name == "nvidiactl")
        if why:
            rows.append(f"/dev/{name}: {why}")
    return rows


def _why_closed(path: str, *, try_it: bool) -> str:
    """Only nvidiactl is opened, which wakes no GPU: what a cgroup forbids, permissions do not show."""
    if not os.path.exists(path):
        return "there is no such file"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"not readable and writable for uid {os.getuid()} (mode {os.stat(path).st_mode & 0o777:o})"
    if try_it:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            return (error.strerror or "cannot be opened").lower()
    return ""


def _daemons(root: str) -> dict[str, Any]:
    """Which of the driver's daemons run; ``hidden``: why that cannot be seen (other users' processes are hidden)."""
    folder = os.path.join(root, "proc")
    running = set()
    for pid in processes.user_space(folder):
        daemon = DAEMONS.get((proc.line(os.path.join(folder, pid, "comm")) or "")[:15])
        if daemon:
            running.add(daemon)
    first = proc.line(os.path.join(folder, "1/comm"))
    return {
        "daemons": sorted(running),
        "hidden": "" if first is not None else "other users' processes are hidden",
        "mps_pipe": os.path.exists(os.path.join(root, MPS_PIPE)),
    }
