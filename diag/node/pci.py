"""Which accelerators and HCAs are on the PCI bus, and which device files do accelerators have?

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

HCAS = {"15b3": "mellanox", "14e4": "broadcom", "8086": "intel", "1d0f": "amazon", "19e5": "huawei", "1077": "qlogic"}
ALWAYS_HCA = {"15b3": None, "1d0f": ("efa0", "efa1", "efa2", "efa3")}
"""Vendors (or devices of a vendor) whose Ethernet function is an HCA, also before an RDMA driver is loaded."""

FILES = ("nvidia", "kfd", "mxcd", "davinci", "hl", "dxg")
"""Device files of NVIDIA, AMD and Hygon, MetaX, Ascend, Habana GPUs and of WSL, without their number."""


def devices(root: str = "/") -> dict[str, Any]:
    """``{"devices": [...], "files": ["/dev/nvidia0", …]}``. Raises OSError where the bus cannot be read."""
    bus = os.path.join(root, "sys/bus")
    folder = os.path.join(bus, "pci/devices")
    if not os.path.isdir(os.path.join(bus, "pci")) and os.listdir(bus):
        return {"devices": [], "files": files(root)}  # this kernel has buses, but none is PCI
    found = [_device(folder, address) for address in sorted(os.listdir(folder))]
    return {"devices": [device for device in found if device], "files": files(root)}


def files(root: str = "/") -> list[str]:
    """Device files of accelerators; a container may have them without a bus."""
    present = proc.names(os.path.join(root, "dev"))
    return sorted(f"/dev/{name}" for name in present if name.rstrip("0123456789") in FILES)


def _device(folder: str, address: str) -> dict[str, Any] | None:
    """One read for each device that is of no interest: ``modalias`` holds vendor, device and class."""
    here = os.path.join(folder, address)
    vendor, device, kind = _identity(proc.line(os.path.join(here, "modalias")) or "")
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
    return os.path.isdir(os.path.join(here, "infiniband"))
