"""Changes that make the checks of checks/gpu_system.py fail."""

from __future__ import annotations

from typing import Any

from tests.checks.changes import Change, having, item, on
from tests.checks.pair import two
from tests.checks.pairs.gpu_health import every_gpu, gpu


def system(**fields: Any) -> Change:
    return on("gpu02", gpu_system=having(**fields))


PAIRS = (
    two(
        "driver_library_is_of_the_loaded_driver",
        system(library_mismatch="library 575.57.08, kernel module 570.158.01"),
        "library 575.57.08",
    ),
    two(
        "device_files_are_open_to_us",
        system(files=("/dev/nvidia0: not readable and writable for uid 1000 (mode 660)",)),
        "/dev/nvidia0: not readable",
    ),
    two(
        "hcas_can_reach_gpu_memory",
        system(modules=("nvidia", "nvidia_uvm"), dma_buf=False),
        "neither nvidia-peermem nor DMA-BUF",
    ),
    two("iommu_lets_peers_through", system(iommu="translated"), "IOMMU: translated"),
    two("bridges_do_not_redirect_peers", system(bridges=item(1, having(acs=True))), "ACS redirects on 0000:47:01.0"),
    two("containers_can_be_given_gpus", system(container_toolkit=None), "without NVIDIA's container toolkit"),
    two("gpus_are_not_shared_by_mps", system(mps=True), "the MPS daemon runs"),
    two("driver_stays_loaded_when_idle", gpu(persistence=False), "persistence off on gpu:3"),
    two("dcgm_finds_its_gpus_healthy", system(dcgm="Warning: GPU 3 has replays"), "Warning: GPU 3"),
    two(
        "dcgm_diagnosis_passes",
        on("gpu02", speed=having(dcgm_failures=("Denylist gpu:3: nouveau",))),
        "Denylist gpu:3: nouveau",
    ),
    two(
        "dcgm_diagnosis_warns_of_nothing",
        on("gpu02", speed=having(dcgm_warnings=("software gpu:3 (Warn): Persistence mode is off",))),
        "software gpu:3 (Warn)",
    ),
    two("vbios_is_the_same_on_all_nodes", every_gpu(vbios="96.00.74.00.01"), "96.00.74.00.01"),
)
