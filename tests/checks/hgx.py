"""What do the GPUs of a healthy HGX H100 say of themselves, and the system around them?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product

from diag.facts.device import (
    Between,
    Bridge,
    Clocks,
    Ecc,
    Fabric,
    Gpu,
    GpuSystem,
    NvLink,
    PciDevice,
    Pcie,
    Retired,
    TorchView,
)
from diag.units import MIB

GPUS, HCAS, NVLINKS = 8, 4, 18
H100 = "NVIDIA H100 80GB HBM3"


def h100_on_the_bus(index: int) -> PciDevice:
    return PciDevice(
        kind="accelerator",
        vendor="nvidia",
        address=f"0000:{0x18 + 0x18 * index:02x}:00.0",
        vendor_id="10de",
        device_id="2330",
        driver="nvidia",
        numa_node=index // 4,
    )


def h100(node: int, index: int) -> Gpu:
    total, used, reserved = 81559 * MIB, 4 * MIB, 639 * MIB
    return Gpu(
        index=index,
        name=H100,
        vendor="nvidia",
        uuid=_uuid(node, index),
        serial=f"...{node:02}{index:02}",
        pci_address=h100_on_the_bus(index).address,
        total_bytes=total,
        used_bytes=used,
        free_bytes=total - used - reserved,
        reserved_bytes=reserved,
        driver="570.158.01",
        cuda_driver="12.8",
        vbios="96.00.99.00.01",
        compute_capability="9.0",
        compute_mode="default",
        persistence=True,
        mig=False,
        mig_instances=(),
        utilisation=0.0,
        processes=(),
        ecc=Ecc(
            enabled=True,
            pending=True,
            volatile_corrected=0,
            volatile_uncorrected=0,
            aggregate_corrected=2,
            aggregate_uncorrected=0,
        ),
        retired=Retired(kind="rows", corrected=0, uncorrected=0, pending=False, failed=False),
        temperature_c=29,
        memory_temperature_c=37,
        slowdown_c=87,
        power_w=68.57,
        power_cap_w=700.0,
        power_default_w=700.0,
        clocks=Clocks(sm=345, sm_max=1980, memory=2619, memory_max=2619),
        throttled_by=(),
        pcie=Pcie(
            generation=5,
            width=16,
            generation_max=5,
            width_max=16,
            device_generation_max=5,
            device_width_max=16,
            replays=150,
        ),
        links=tuple(_nvlink(link) for link in range(NVLINKS)),
        fabric=Fabric(state="completed", status="success"),
        numa_node=index // 4,
        cpus="0-55,112-167" if index < GPUS // 2 else "56-111,168-223",
        health=None,
    )


def _uuid(node: int, index: int) -> str:
    return f"GPU-{node:08x}-0000-0000-0000-{index:012x}"


def _nvlink(index: int) -> NvLink:
    switch = f"0000:{4 + index % 4:02x}:00.0"
    return NvLink(index=index, active=True, version="4.0", remote=switch, replays=0, recoveries=0, crc_errors=0)


def between() -> Iterator[Between]:
    for one, other in combinations(range(GPUS), 2):
        yield Between(a=f"gpu:{one}", b=f"gpu:{other}", path="link", links=NVLINKS, p2p="ok")
    for gpu, hca in product(range(GPUS), range(HCAS)):
        near = "PIX" if gpu == 2 * hca else "NODE" if gpu // 4 == hca // 2 else "SYS"
        yield Between(a=f"gpu:{gpu}", b=f"mlx5_{hca}", path=near)


def gpu_system() -> GpuSystem:
    return GpuSystem(
        modules=("nvidia", "nvidia_uvm", "nvidia_drm", "nvidia_modeset", "nvidia_peermem", "ib_core", "mlx5_ib"),
        kernel_driver="570.158.01",
        library_mismatch=None,
        nvswitches=4,
        fabric_manager="active",
        persistence_daemon=True,
        mps=False,
        dma_buf=True,
        iommu="passthrough",
        bridges=tuple(Bridge(address=f"0000:{0x17 + 0x30 * index:02x}:01.0", acs=False) for index in range(HCAS)),
        files=(),
        container_toolkit="1.17.8",
        dcgm="healthy",
    )


def torch_view(node: int) -> TorchView:
    return TorchView(
        available=True,
        version="2.8.0+cu128",
        built_for="cuda 12.8",
        architectures=("sm_70", "sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"),
        devices=(H100,) * GPUS,
        uuids=tuple(_uuid(node, index) for index in range(GPUS)),
        bf16=True,
        fp8=True,
        nccl="2.27.3",
        libcuda="12.8",
    )
