"""Changes that make the checks of checks/gpu_torch.py fail."""

from __future__ import annotations

from typing import Any

from tests.checks.changes import Change, having, item, on
from tests.checks.hgx import H100
from tests.checks.pair import two


def view(**fields: Any) -> Change:
    return on("gpu02", torch_view=having(**fields))


PAIRS = (
    two("torch_is_built_for_gpus", view(available=False, built_for=None, devices=()), "built for the CPU"),
    two("torch_sees_every_gpu", view(devices=(H100,) * 7), "torch sees 7 GPUs"),
    two(
        "torch_sees_every_gpu",
        view(available=False, devices=(), why_not="The NVIDIA driver on your system is too old"),
        "torch sees 0 GPUs (The NVIDIA driver",
    ),
    two("torch_holds_code_for_its_gpus", view(architectures=("sm_80", "sm_86", "sm_100")), "no code for NVIDIA H100"),
    two("torch_holds_code_for_its_gpus", view(architectures=("sm_100a", "compute_100")), "among sm_100a compute_100"),
    two(
        "forward_compatibility_is_for_these_gpus",
        on("gpu02", gpus=item(lambda _: True, having(name="NVIDIA GeForce RTX 4090"))),
        "libcuda of CUDA 13.0 over a driver for 12.8 on NVIDIA GeForce RTX 4090",
        given=on("*", torch_view=having(libcuda="13.0")),
    ),
)
