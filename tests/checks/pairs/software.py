"""Changes that make the checks of checks/software.py fail."""

from __future__ import annotations

from tests.checks.changes import (
    having,
    on,
    package,
)
from tests.checks.pair import two

PAIRS = (
    two("torch_is_the_same_on_all_nodes", on("gpu02", software=having(torch="2.7.1+cu128")), "torch 2.7.1+cu128"),
    two("nccl_is_the_same_on_all_nodes", on("gpu02", software=having(nccl="2.26.2")), "NCCL 2.26.2"),
    two("cuda_is_the_same_on_all_nodes", on("gpu02", software=having(cuda="12.6")), "12.6"),
    two("python_is_the_same_on_all_nodes", on("gpu02", software=having(python="3.12.1")), "Python 3.12"),
    two(
        "engines_are_the_same_on_all_nodes",
        on("gpu02", software=having(packages=package("vllm", "0.10.2"))),
        "vllm 0.10.2",
    ),
    two("driver_is_the_same_on_all_nodes", on("gpu02", software=having(driver="550.90.07")), "driver 550.90.07"),
    two("kernel_is_the_same_on_all_nodes", on("gpu02", system=having(kernel="6.8.0-31-generic")), "6.8.0-31-generic"),
    two(
        "nccl_is_built_for_the_cuda_of_torch",
        on("gpu02", software=having(packages=package("nvidia-nccl-cu11", "2.21.5"))),
        "nvidia-nccl-cu11",
    ),
)
