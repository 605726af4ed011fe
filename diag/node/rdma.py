"""Is there anything of RDMA on this node? Only then is the rest of it even loaded: that costs a node 15 ms of CPU."""

from __future__ import annotations

import os

import pci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLASS = "sys/class/infiniband"


def devices(root: str = "/") -> dict[str, Any]:
    """``{"loaded": bool, "devices": [...]}``; ``loaded``: the kernel's RDMA core is there."""
    if not os.path.isdir(os.path.join(root, CLASS)):
        return {"loaded": False, "devices": []}
    import rdma_devices

    return {"loaded": True, "devices": rdma_devices.devices(root)}


def system(seconds: float, root: str = "/") -> dict[str, Any]:
    """``absent``: no RDMA core and no HCA on the bus. Each tool has ``seconds``."""
    loaded = os.path.isdir(os.path.join(root, CLASS))
    if not loaded and not any(device["kind"] == "hca" for device in pci.devices(root)["devices"]):
        return {"absent": True}
    import rdma_tools

    return {"loaded": loaded, **rdma_tools.system(seconds, root)}
