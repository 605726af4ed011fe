"""Changes that make the checks of checks/gpus.py fail."""

from __future__ import annotations

from diag.facts.device import GpuProcess
from diag.units import GIB
from tests.checks.changes import (
    having,
    item,
    on,
)
from tests.checks.pair import two

PAIRS = (
    two("accelerator_has_its_driver", on("gpu02", devices=item(3, having(driver=None))), "driver none"),
    two("hca_has_its_driver", on("gpu02", devices=item(9, having(driver="vfio-pci"))), "vfio-pci"),
    two("every_gpu_on_the_bus_answers", on("gpu02", gpus=lambda gpus: gpus[:7]), "7 GPUs answer"),
    two("driver_reaches_gpu", on("gpu02", gpus=item(3, having(lost="GPU is lost"))), "GPU is lost"),
    two(
        "gpus_are_as_many_as_on_peers",
        on("gpu02", devices=lambda old: (*old[:7], *old[8:]), gpus=lambda gpus: gpus[:7]),
        "GPUs 7",
        also=frozenset({"cuda_visible_devices_exist"}),
    ),
    two(
        "gpu_models_are_the_same_on_all_nodes",
        on("gpu02", gpus=item(lambda _: True, having(name="NVIDIA H200"))),
        "H200",
        also=frozenset({"gpu_memory_is_fast"}),
    ),
    two("mig_mode_is_the_same_on_its_gpus", on("gpu02", gpus=item(0, having(mig=True))), "gpu:0 only"),
    two(
        "mig_mode_is_the_same_on_all_nodes",
        on("gpu02", gpus=item(lambda _: True, having(mig=True))),
        "MIG enabled: True",
    ),
    two(
        "gpu_memory_is_free",
        on("gpu02", gpus=item(5, having(used_bytes=40 * GIB, processes=(GpuProcess(pid=4121, name="python"),)))),
        "40.0 GiB of 79.6 GiB in use by pid 4121 python",
    ),
    two("gpu_compute_mode_lets_us_in", on("gpu02", gpus=item(5, having(compute_mode="prohibited"))), "prohibited"),
    two(
        "driver_supports_the_cuda_of_torch",
        on("gpu02", gpus=item(lambda _: True, having(cuda_driver="11.8")), torch_view=having(libcuda="11.8")),
        "CUDA 11.8",
    ),
)
