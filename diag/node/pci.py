"""Which accelerators and HCAs are on the PCI bus, where in its tree, and which device files do accelerators have?

Absence is proven here: an empty list means the bus was read and holds none.
"""

from __future__ import annotations

import os

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DISPLAY, NETWORK, ACCELERATOR = "03", "02", "12"
VGA, GPU_3D, DISPLAY_OTHER, ETHERNET, INFINIBAND = "0300", "0302", "0380", "0200", "0207"

ACCELERATORS = {
    "10de": ("nvidia", (VGA, GPU_3D)),
    "1002": ("amd", (VGA, DISPLAY_OTHER, "1200")),
    "9999": ("metax", (VGA, GPU_3D, DISPLAY_OTHER, "1200")),
    "19e5": ("ascend", ("1200",)),
    "1d94": ("hygon", (VGA, GPU_3D, DISPLAY_OTHER, "0b40", "1200")),
    "8086": ("intel", (DISPLAY_OTHER, "1200")),
    "1da3": ("habana", ("1200",)),
    "1ed5": ("mthreads", (VGA, GPU_3D, "1200")),
    "1e3e": ("iluvatar", (VGA, GPU_3D, DISPLAY_OTHER, "1200")),
    "cabc": ("cambricon", ("0b40", "1200")),
    "1d22": ("kunlunxin", ("0b40", "1200")),
    "1e36": ("enflame", ("1200",)),
}
"""Vendor -> name and the classes of its accelerators; other classes of the same vendor are bridges, audio, DMA …"""

GRAPHICS = (
    "15dd", "15d8", "1636", "1638", "164c", "15e7", "163f", "1681", "164d", "1506", "164e", "13c0", "15bf", "15c8",
    "164f", "1900", "1901",
)  # fmt: skip
"""AMD's of processors (Raven to Hawk Point; Raphael and Granite Ridge also in servers), by pci.ids: no accelerators.
Those that ROCm supports (Ryzen AI, MI300A) are not among them."""
OF_GRAPHICS = "/dev/kfd"
"""Their driver makes this file, too."""

HCAS = {"15b3": "mellanox", "14e4": "broadcom", "8086": "intel", "1d0f": "amazon", "19e5": "huawei", "1077": "qlogic"}
WIDEST = 32
"""Lanes; emulated devices say 63 or 255."""
ALWAYS_HCA = {"15b3": None, "1d0f": ("efa0", "efa1", "efa2", "efa3")}
"""Vendors (or devices of a vendor) whose Ethernet function is an HCA, also before an RDMA driver is loaded."""
WHEN_UNBOUND = {
    "14e4": ("16d6", "16d7", "16d8", "16d9", "1750", "1751", "1752", "1760"),
    "8086": ("1591", "1592", "1593", "1599", "159a", "159b"),
}
"""Broadcom's NetXtreme-E and Thor, Intel's E810: plain network cards until an RDMA driver registers them; one without
any driver may have been meant for either."""

NVSWITCH = ("10de", "0680")
"""NVIDIA's bridges: the switches between the GPUs of one board. Those of B200 and later show themselves otherwise."""

FILES = ("nvidia", "kfd", "mxcd", "davinci", "hl", "dxg")
"""Device files of NVIDIA, AMD and Hygon, MetaX, Ascend, Habana GPUs and of WSL, without their number."""


_read: dict[str, dict[str, Any]] = {}
"""Several questions of one frame need the bus; this process answers one frame."""


def devices(root: str = "/") -> dict[str, Any]:
    """``{"devices": [...], "files": ["/dev/nvidia0", …], "nvswitches": 4}``. OSError: the bus cannot be read."""
    if root not in _read:
        _read[root] = _devices(root)
    return _read[root]


def _devices(root: str) -> dict[str, Any]:
    bus = os.path.join(root, "sys/bus")
    folder = os.path.join(bus, "pci/devices")
    if not os.path.isdir(os.path.join(bus, "pci")) and os.listdir(bus):
        return {"devices": [], "files": files(root), "nvswitches": 0}  # this kernel has buses, but none is PCI
    switches = graphics = 0
    found = []
    for address in sorted(os.listdir(folder)):
        # One read for each device that is of no interest: ``modalias`` holds vendor, device and class.
        identity = _identity(proc.line(os.path.join(folder, address, "modalias")) or "")
        switches += (identity[0], identity[2]) == NVSWITCH
        if identity[0] == "1002" and identity[1] in GRAPHICS:
            graphics += 1
            continue
        row = _device(folder, address, *identity)
        if row:
            found.append(row)
    theirs = bool(graphics) and not any(row["vendor"] in ("amd", "hygon") for row in found)
    present = [file for file in files(root) if not (theirs and file == OF_GRAPHICS)]
    return {"devices": found, "files": present, "nvswitches": switches}


def files(root: str = "/") -> list[str]:
    """Device files of accelerators; a container may have them without a bus."""
    present = proc.names(os.path.join(root, "dev"))
    return sorted(f"/dev/{name}" for name in present if name.rstrip("0123456789") in FILES)


def _device(folder: str, address: str, vendor: str, device: str, kind: str) -> dict[str, Any] | None:
    here = os.path.join(folder, address)
    name, classes = ACCELERATORS.get(vendor, ("", ()))
    if kind in classes:
        role = "accelerator"
    elif _is_hca(here, vendor, device, kind):
        role, name = "hca", HCAS.get(vendor, f"vendor {vendor}")
    else:
        return None
    numa = proc.line(os.path.join(here, "numa_node"))
    return {
        "kind": role,
        "vendor": name,
        "address": address,
        "vendor_id": vendor,
        "device_id": device,
        "driver": proc.link(os.path.join(here, "driver")),
        "numa_node": int(numa) if numa and numa.isdigit() else None,
        "virtual_function": os.path.lexists(os.path.join(here, "physfn")),
        **_place(here),
    }


def _place(here: str) -> dict[str, Any]:
    """Where it hangs: its bridges from the root down, the CPUs near it, its own widest link, its RDMA devices."""
    try:
        parts = os.readlink(here).split("/")
    except OSError:
        parts = []
    width = proc.line(os.path.join(here, "max_link_width"))
    return {
        "path": [part for part in parts[:-1] if ":" in part],
        "cpus": proc.line(os.path.join(here, "local_cpulist")) or None,
        "width_max": int(width) if width and width.isdigit() and 0 < int(width) <= WIDEST else None,
        "rdma": sorted(proc.names(os.path.join(here, "infiniband"))),
    }


def _identity(modalias: str) -> tuple[str, str, str]:
    """``pci:v000010DEd00002330sv000010DEsd000016C1bc03sc02i00`` -> 10de, 2330, 0302."""
    if not modalias.startswith("pci:v") or "bc" not in modalias:
        return "", "", ""
    classes = modalias[modalias.rindex("bc") :]
    return modalias[9:13].lower(), modalias[18:22].lower(), (classes[2:4] + classes[6:8]).lower()


def _is_hca(here: str, vendor: str, device: str, kind: str) -> bool:
    if kind == INFINIBAND:
        return True
    if kind != ETHERNET:
        return False
    if vendor in ALWAYS_HCA:
        only = ALWAYS_HCA[vendor]
        if only is None or device in only:
            return True
    if device in WHEN_UNBOUND.get(vendor, ()) and not os.path.lexists(os.path.join(here, "driver")):
        return True
    return os.path.isdir(os.path.join(here, "infiniband"))
