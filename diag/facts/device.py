"""Which accelerators and HCAs are there (proven from the bus), and what do they say of themselves?

Temperatures in °C, powers in W, clocks in MHz, as the drivers give them. ``None`` in a field: the device has no such
thing (no ECC on a consumer card); ``Missing``: it has or may have, and could not be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diag.facts.record import UNASKED, Known, Record, unknown

UNSAID: Any = unknown("its vendor's tool does not say, or is not asked for it")
"""In a field of which nothing could ever be known here, whatever the state of the node."""


CUDA = "CUDA_VISIBLE_DEVICES"
_ROCM = (("ROCR_VISIBLE_DEVICES",), ("HIP_VISIBLE_DEVICES", CUDA))
SHOWN_BY: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "amd": _ROCM, "hygon": _ROCM, "metax": (("MACA_VISIBLE_DEVICES", CUDA),),
}  # fmt: skip
"""Vendors beside NVIDIA of which torch.cuda speaks -> the variables that show a program its GPUs: one step after the
other, each among those that the one before left; of a step the first that is set counts.
"""


class PciDevice(Record, frozen=True, kw_only=True):
    """An accelerator or HCA on the PCI bus. ``driver`` None: none is bound."""

    kind: str
    """``accelerator`` or ``hca``."""
    vendor: str
    """``nvidia``, ``amd``, ``metax``, ``mellanox``, ``broadcom``, …"""
    address: str
    """``0000:3b:00.0``."""
    vendor_id: str
    device_id: str
    driver: str | None
    numa_node: int | None = None
    virtual_function: bool = False


class GpuProcess(Record, frozen=True, kw_only=True):
    """A process that holds GPU memory; ``used_bytes`` None: the driver does not say (containers, MIG)."""

    pid: int
    name: str | None = None
    used_bytes: int | None = None
    ours: bool = False


class MigInstance(Record, frozen=True, kw_only=True):
    """A slice of a divided GPU."""

    uuid: str
    profile: str | None = None
    """``1g.10gb``."""
    total_bytes: int | None = None


class Ecc(Record, frozen=True, kw_only=True):
    """Memory errors; volatile: since the driver was loaded, aggregate: over the device's life."""

    enabled: Known[bool | None] = UNASKED
    """None: the tool that counts does not say."""
    pending: bool | None = None
    """What it becomes after the next restart."""
    volatile_corrected: Known[int | None] = UNASKED
    volatile_uncorrected: Known[int | None] = UNASKED
    aggregate_corrected: Known[int | None] = UNASKED
    aggregate_uncorrected: Known[int | None] = UNASKED


class Retired(Record, frozen=True, kw_only=True):
    """Memory that was taken out of use: pages (to Volta and Turing) or rows (Ampere and later)."""

    kind: str
    """``pages`` or ``rows``."""
    corrected: Known[int] = UNASKED
    uncorrected: Known[int] = UNASKED
    pending: Known[bool] = UNASKED
    failed: bool | None = None
    """A row that could not be remapped; None: not said of pages."""


class Clocks(Record, frozen=True, kw_only=True):
    """MHz, now and at most."""

    sm: Known[int | None] = UNASKED
    sm_max: Known[int | None] = UNASKED
    memory: Known[int | None] = UNASKED
    memory_max: Known[int | None] = UNASKED


class Pcie(Record, frozen=True, kw_only=True):
    """The link as it is now (idle links are slower on purpose) and at most for this device in this slot."""

    generation: int
    width: int
    generation_max: Known[int | None] = UNASKED
    """None, and of ``width_max``: no slot is shown, as in many virtual machines."""
    width_max: Known[int | None] = UNASKED
    device_generation_max: Known[int | None] = UNASKED
    """What the device itself could, in a better slot; so the next one."""
    device_width_max: Known[int | None] = UNASKED
    replays: Known[int | None] = UNASKED
    """Packets sent again since the driver was loaded."""


class NvLink(Record, frozen=True, kw_only=True):
    """One link between GPUs (NVLink, xGMI, MetaXLink). ``remote``: PCI address of the other end."""

    index: int
    active: bool
    version: str | None = None
    remote: str | None = None
    replays: int | None = None
    recoveries: int | None = None
    crc_errors: int | None = None


class Fabric(Record, frozen=True, kw_only=True):
    """NVSwitch as the GPU sees it. ``state``: ``not_supported``, ``not_started``, ``in_progress``, ``completed``.

    The state says how training of the links ended, not whether the Fabric Manager still runs.
    """

    state: str
    status: str | None = None
    """``success`` or NVML's words."""
    health: tuple[str, ...] = ()
    """What its health mask says is wrong."""


class Gpu(Record, frozen=True, kw_only=True):
    """One GPU as its driver's library reports it. Memory in bytes; ``free`` is what a new process could get."""

    index: int
    name: str
    vendor: str
    uuid: Known[str] = UNASKED
    serial: Known[str | None] = UNASKED
    """Masked: its last four characters behind dots."""
    pci_address: Known[str] = UNASKED
    total_bytes: Known[int] = UNASKED
    used_bytes: Known[int] = UNASKED
    free_bytes: Known[int] = UNASKED
    reserved_bytes: Known[int | None] = UNASKED
    """By the driver and firmware, in neither of the two above."""
    driver: Known[str] = UNASKED
    cuda_driver: Known[str | None] = UNASKED
    """CUDA version the driver supports, e.g. ``12.8``."""
    vbios: Known[str | None] = UNASKED
    compute_capability: Known[str | None] = UNASKED
    compute_mode: Known[str | None] = UNASKED
    """``default``, ``exclusive_process``, ``prohibited``."""
    persistence: Known[bool | None] = UNASKED
    mig: Known[bool] = UNASKED
    mig_instances: Known[tuple[MigInstance, ...]] = UNASKED
    utilisation: Known[float] = UNASKED
    """Share of a 2 s sample in which a kernel ran, 0–1."""
    processes: Known[tuple[GpuProcess, ...]] = UNASKED
    ecc: Known[Ecc | None] = UNASKED
    retired: Known[Retired | None] = UNASKED
    temperature_c: Known[int | None] = UNASKED
    memory_temperature_c: Known[int | None] = UNASKED
    slowdown_c: Known[int | None] = UNASKED
    """Where it slows itself down; of devices that only say how far that is, the highest it should work at."""
    power_w: Known[float | None] = UNASKED
    power_cap_w: Known[float | None] = UNASKED
    """What is enforced now."""
    power_default_w: Known[float | None] = UNASKED
    clocks: Known[Clocks] = UNASKED
    throttled_by: Known[tuple[str, ...] | None] = UNASKED
    """``hw_slowdown``, ``hw_thermal_slowdown``, ``sw_thermal_slowdown``, ``hw_power_brake``, ``sw_power_cap``, …; idle
    and clocks that an application set are none."""
    pcie: Known[Pcie | None] = UNASKED
    links: Known[tuple[NvLink, ...]] = UNASKED
    fabric: Known[Fabric | None] = UNASKED
    numa_node: Known[int | None] = UNASKED
    cpus: Known[str | None] = UNASKED
    """Near it, as the kernel writes lists: ``0-31,64-95``."""
    health: Known[str | None] = UNASKED
    """What its vendor's tool says of it as a whole: ``ok`` or its words; None: it has no word for that (NVIDIA)."""
    lost: str | None = None
    """The driver's words where it lists the GPU and reaches it no more; None: it does, as far as was asked."""


class Between(Record, frozen=True, kw_only=True):
    """What joins two devices of a node. ``a`` and ``b``: ``gpu:0``, or the name of an HCA.

    ``path``: ``link`` (NVLink, xGMI, MetaXLink; ``links`` of them), ``PIX``, ``PXB``, ``PHB``, ``NODE``, ``SYS``, as
    ``nvidia-smi topo -m`` calls them. ``p2p``: what the driver says of reads: ``ok`` or why not.
    """

    a: str
    b: str
    path: str
    links: int = 0
    p2p: str | None = None


class Xid(Record, frozen=True, kw_only=True):
    """An error of a GPU that the kernel logged. ``at_s``: since the machine's start."""

    code: int
    pci_address: str
    at_s: float | None = None
    said: str = ""
    switch: bool = False
    """An NVSwitch logged it (SXid): its codes are others than those of GPUs."""


class Bridge(Record, frozen=True, kw_only=True):
    """A PCI bridge above a GPU or HCA; ``acs``: redirects peer traffic through the root, which slows or breaks P2P."""

    address: str
    acs: Known[bool | None] = UNASKED


class GpuSystem(Record, frozen=True, kw_only=True):
    """What of the system decides whether GPUs work: modules, services, files, bridges."""

    modules: Known[tuple[str, ...]] = UNASKED
    """Loaded ones among nvidia, nvidia_uvm, nvidia_peermem, nouveau, amdgpu, metax, …"""
    kernel_driver: Known[str | None] = UNASKED
    """Version of the loaded kernel module."""
    library_mismatch: Known[str | None] = UNASKED
    """NVML's words where library and kernel module differ; None: they agree."""
    fabric_manager: Known[str | None] = UNASKED
    """``active``, ``inactive``, ``failed``; None: not installed."""
    nvswitches: Known[int] = UNASKED
    """On the PCI bus; a virtual machine may have none of its own, and boards of B200 and later show them otherwise."""
    persistence_daemon: Known[bool] = UNASKED
    mps: Known[bool] = UNASKED
    dma_buf: Known[bool | None] = UNASKED
    """Whether kernel and driver can export GPU memory without nvidia_peermem."""
    iommu: Known[str | None] = UNASKED
    """``off``, ``passthrough``, ``translated``."""
    bridges: Known[tuple[Bridge, ...]] = UNASKED
    files: Known[tuple[str, ...]] = UNASKED
    """Device files that this user may not open, each with why: ``/dev/nvidia0: permission denied``."""
    container_toolkit: Known[str | None] = UNASKED
    """Version of nvidia-container-toolkit; None: not installed."""
    dcgm: Known[str | None] = UNASKED
    """What ``dcgmi health`` says: ``healthy`` or its words; None: not installed."""


class TorchView(Record, frozen=True, kw_only=True):
    """What torch says under the engine's interpreter. ``available`` False: ``why_not`` has its words.

    ``bf16``, ``fp8``: whether this torch has such tensors and every one of these devices computes with them.
    """

    available: bool
    why_not: str = ""
    version: str
    built_for: str | None = None
    """``cuda 12.8``, ``rocm 6.4``, ``metax``, ``torch_npu 2.7.1``; None: for the CPU."""
    architectures: tuple[str, ...] = ()
    """Compiled in: ``sm_90``, ``compute_90``, ``gfx942``."""
    devices: tuple[str, ...] = ()
    """Names in its order; ``unknown`` where torch does not say which one it is."""
    uuids: tuple[str, ...] = ()
    bf16: bool | None = None
    fp8: bool | None = None
    nccl: str | None = None
    libcuda: str | None = None
    """CUDA version of the driver library that it would load: newer than the driver's own with the forward
    compatibility package."""
