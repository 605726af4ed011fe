"""Which accelerators and HCAs are there (proven from the bus), and what do they say of themselves?"""

from __future__ import annotations

from diag.facts.record import UNASKED, Known, Record


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


class Gpu(Record, frozen=True, kw_only=True):
    """One GPU as its driver's library reports it. Memory in bytes; ``free`` is what a new process could get."""

    index: int
    name: str
    vendor: str
    uuid: Known[str] = UNASKED
    pci_address: Known[str] = UNASKED
    total_bytes: Known[int] = UNASKED
    used_bytes: Known[int] = UNASKED
    free_bytes: Known[int] = UNASKED
    driver: Known[str] = UNASKED
    cuda_driver: Known[str | None] = UNASKED
    """CUDA version the driver supports, e.g. ``12.8``."""
    compute_capability: Known[str | None] = UNASKED
    compute_mode: Known[str | None] = UNASKED
    """``default``, ``exclusive_process``, ``prohibited``."""
    mig: Known[bool] = UNASKED
    utilisation: Known[float] = UNASKED
    """Share of a 2 s sample in which a kernel ran, 0–1."""
    processes: Known[tuple[GpuProcess, ...]] = UNASKED
