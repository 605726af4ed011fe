"""Does torch, under the engine's interpreter, see the GPUs and hold code for them?"""

import re

import pytest

from diag.facts.derived import has_accelerator, has_nvidia, in_container, setting
from diag.facts.device import CUDA, SHOWN_BY, Gpu, TorchView
from diag.facts.node import Node
from diag.facts.record import NotMeasured
from diag.facts.verdict import finding

COMPILED = re.compile(r"(sm|compute)_(\d+)(\d)[af]?$")
EXACT = ("a", "f")
"""Ends of architectures that run on one kind of GPU only: sm_90a."""


def has_torch(node: Node) -> bool:
    return node.torch_view is not None


on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")
with_torch = pytest.mark.applies(has_torch, reason="no torch under this interpreter")


def view(node: Node) -> TorchView:
    assert node.torch_view is not None
    return node.torch_view


def for_gpus(node: Node) -> bool:
    return view(node).built_for is not None or view(node).available


def computes_by_cuda(node: Node) -> bool:
    """NVIDIA, and whose GPUs answer as a vendor's whose torch computes through torch.cuda, too."""
    return has_nvidia(node) or any(gpu.vendor in SHOWN_BY for gpu in node.gpus)


by_cuda = pytest.mark.applies(computes_by_cuda, reason="no GPU of which torch.cuda speaks")


def visible(node: Node) -> int:
    """How many the environment leaves, of slices (MIG) one; what it names wrongly is another check's. In a container
    other vendors' tools may show what it was not given.
    """
    steps = SHOWN_BY.get(node.gpus[0].vendor, ((CUDA,),)) if node.gpus else ()
    values = [value for names in steps for name in names if (value := setting(node, name)) is not None]
    left = min([len(node.gpus), *map(named, values)])
    return left if has_nvidia(node) or not in_container(node) else min(left, 1)


def named(value: str) -> int:
    """Of slices (MIG) torch shows one."""
    words = [word.strip() for word in value.split(",")] if value else []
    whole = [word for word in words if not word.startswith("MIG-")]
    return len(whole) + (len(whole) < len(words))


@on_gpus
@with_torch
@by_cuda
@pytest.mark.needs("check_cuda_visible_devices_exist", "check_device_files_are_open_to_us")
@pytest.mark.cause("gpu_arch_unsupported")
def check_torch_is_built_for_gpus(node: Node) -> None:
    """A build for the CPU starts, finds no GPU, and the engine says "No CUDA GPUs are available" or runs on the CPU.

    Do: install the build of torch for these GPUs that the engine asks for: CUDA, ROCm, or their vendor's own.
    $ ssh {node} 'python3 -c "import torch; print(torch.__version__, torch.version.cuda, torch.version.hip)"'
    """
    assert for_gpus(node), finding(f"torch {view(node).version} is built for the CPU", "a build for its GPUs")


@on_gpus
@with_torch
@by_cuda
@pytest.mark.needs("check_torch_is_built_for_gpus", "check_driver_library_is_of_the_loaded_driver")
@pytest.mark.cause("cuda_visible_devices_wrong")
def check_torch_sees_every_gpu(node: Node) -> None:
    """An engine takes what torch shows it: a rank whose GPU is missing there ends at start.

    Do: look at CUDA_VISIBLE_DEVICES (HIP_, ROCR_, MACA_), at the container's devices, and at what torch says.
    $ ssh {node} 'python3 -c "import torch; print(torch.cuda.device_count())"; nvidia-smi -L || amd-smi list'
    """
    seen, expected = len(view(node).devices), visible(node)
    why = f" ({view(node).why_not})" if view(node).why_not else ""
    sees_all = view(node).available and seen >= expected
    assert sees_all, finding(f"torch sees {seen} GPUs{why}", f"{expected}")


def runs_on(architecture: str, capability: tuple[int, int]) -> bool:
    """Machine code runs on its major version from its minor on; ``compute_`` is compiled at start for newer GPUs."""
    match = COMPILED.match(architecture)
    if match is None:
        return False
    kind, major, minor = match[1], int(match[2]), int(match[3])
    if architecture.endswith(EXACT):
        return (major, minor) == capability
    if kind == "compute":
        return (major, minor) <= capability
    return major == capability[0] and minor <= capability[1]


def without_code(node: Node, gpu: Gpu) -> bool:
    major, _, minor = (gpu.compute_capability or "0.0").partition(".")
    return not any(runs_on(each, (int(major), int(minor))) for each in view(node).architectures)


@on_gpus
@with_torch
@pytest.mark.applies(has_nvidia, reason="no NVIDIA GPU")
@pytest.mark.needs("check_torch_is_built_for_gpus")
@pytest.mark.cause("gpu_arch_unsupported")
def check_torch_holds_code_for_its_gpus(node: Node) -> None:
    """Without machine code for this generation the first kernel ends with "no kernel image is available".

    Do: install a build of torch that names it (torch.cuda.get_arch_list()).
    $ ssh {node} 'python3 -c "import torch; print(torch.cuda.get_arch_list())"'
    """
    if not view(node).architectures:
        raise NotMeasured("torch did not say for which architectures it holds code")
    bare = sorted({f"{gpu.name} ({gpu.compute_capability})" for gpu in node.gpus if without_code(node, gpu)})
    held = " ".join(view(node).architectures)
    assert not bare, finding(f"no code for {', '.join(bare)} among {held}", "one that runs there")


def numbers(version: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in (version or "0").split("."))


def is_newer(node: Node) -> bool:
    """Whether the forward compatibility package is what torch would load."""
    return bool(node.gpus) and numbers(view(node).libcuda) > numbers(node.gpus[0].cuda_driver)


@on_gpus
@with_torch
@pytest.mark.applies(has_nvidia, reason="no NVIDIA GPU")
@pytest.mark.applies(is_newer, reason="no forward compatibility package is in use")
@pytest.mark.cause("cuda_forward_compat_unsupported")
def check_forward_compatibility_is_for_these_gpus(node: Node) -> None:
    """CUDA's forward compatibility works on data centre GPUs only: on others the first call ends with error 804.

    Do: update the driver, or take cuda-compat (/usr/local/cuda/compat) out of LD_LIBRARY_PATH.
    $ ssh {node} 'echo "$LD_LIBRARY_PATH"; ls /usr/local/cuda*/compat; nvidia-smi | head -4'
    """
    others = sorted({gpu.name for gpu in node.gpus if "GeForce" in gpu.name or "TITAN" in gpu.name})
    found = f"libcuda of CUDA {view(node).libcuda} over a driver for {node.gpus[0].cuda_driver} on {', '.join(others)}"
    assert not others, finding(found, "the driver's own libcuda")
