"""Are the accelerators that the bus shows there for us, all of them, alike on all nodes, and free?"""

import pytest

from diag.facts.derived import accelerators, has_accelerator, idle_bytes, in_container
from diag.facts.device import Gpu, PciDevice
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.record import NotMeasured
from diag.facts.verdict import finding
from diag.units import size

NOT_FOR_COMPUTE = ("nouveau", "vfio-pci", "pci-stub")
"""Drivers that keep an accelerator from us: the free display driver, and two that hand it to a virtual machine."""

on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")


@pytest.mark.applies(lambda device: device.kind == "accelerator", reason="not an accelerator")
@pytest.mark.cause("driver_module_not_loaded")
def check_accelerator_has_its_driver(device: PciDevice) -> None:
    """Without its driver an accelerator on the bus is invisible to every engine; mostly a kernel update came before.

    Do: load the driver for the running kernel (dkms status, modprobe), or reinstall it.
    $ ssh {node} 'lspci -k -s {subject}; uname -r; dkms status'
    """
    bound = device.driver is not None and device.driver not in NOT_FOR_COMPUTE
    assert bound, finding(
        f"{device.address} ({device.vendor}): driver {device.driver or 'none'}", "the vendor's driver"
    )


@pytest.mark.applies(lambda device: device.kind == "hca", reason="not an HCA")
@pytest.mark.cause("ib_firmware_or_driver_mismatch")
def check_hca_has_its_driver(device: PciDevice) -> None:
    """Without its driver an HCA registers no RDMA device, and NCCL falls back to TCP in silence.

    Do: load its driver (mlx5_core, bnxt_en, …) and look at why it was not: firmware, kernel, blacklist.
    $ ssh {node} 'lspci -k -s {subject}; dmesg | grep -iE "mlx5|bnxt|irdma" | tail'
    """
    bound = device.driver is not None and device.driver not in NOT_FOR_COMPUTE
    assert bound, finding(
        f"{device.address} ({device.vendor}): driver {device.driver or 'none'}", "the vendor's driver"
    )


def on_the_bus(node: Node, vendor: str = "nvidia") -> int:
    return sum(device.vendor == vendor and not device.virtual_function for device in accelerators(node))


def answering(node: Node, vendor: str) -> int:
    return sum(gpu.vendor == vendor for gpu in node.gpus)


def vendors(node: Node) -> tuple[str, ...]:
    """NVIDIA, and whose GPUs answer at all: a processor's own graphics on the bus has no tool and no part in this."""
    there = sorted({device.vendor for device in accelerators(node)})
    return tuple(vendor for vendor in there if vendor == "nvidia" or answering(node, vendor))


@on_gpus
@pytest.mark.applies(lambda node: bool(vendors(node)), reason="no GPU that a tool reads")
@pytest.mark.applies(lambda node: not in_container(node), reason="a container may be given fewer")
@pytest.mark.needs("check_accelerator_has_its_driver")
@pytest.mark.cause("xid79_gpu_off_bus")
def check_every_gpu_on_the_bus_answers(node: Node) -> None:
    """A GPU that fell off the bus (power, heat, riser, firmware) is still listed there, but its driver has lost it.

    Do: look for Xid 79, or another driver's last words, in the kernel log; drain the node, reset or power-cycle it.
    $ ssh {node} 'sudo dmesg | grep -iE "xid|amdgpu|metax|davinci|hycu" | tail'
    """
    lost = [vendor for vendor in vendors(node) if answering(node, vendor) < on_the_bus(node, vendor)]
    found = ", ".join(f"{answering(node, vendor)} GPUs answer ({vendor})" for vendor in lost)
    assert not lost, finding(found, ", ".join(f"{on_the_bus(node, vendor)}, as on the PCI bus" for vendor in lost))


@pytest.mark.cause("xid79_gpu_off_bus")
def check_driver_reaches_gpu(gpu: Gpu) -> None:
    """The driver goes on listing a GPU that fell off the bus; every program that is given it ends, or hangs.

    Do: look for Xid 79 in the kernel log; drain the node, reset or power-cycle it.
    $ ssh {node} 'nvidia-smi -L; sudo dmesg | grep -i xid | tail'
    """
    assert gpu.lost is None, finding(f"gpu:{gpu.index}: {gpu.lost}", "a GPU that answers")


def gpu_count(node: Node) -> int:
    return max(len(accelerators(node)), len(node.gpus))


@pytest.mark.applies(lambda node, peers: peers.by(gpu_count).present(node), reason="no accelerator on any node")
def check_gpus_are_as_many_as_on_peers(node: Node, peers: Peers) -> None:
    """A tensor-parallel group or a placement that asks for all GPUs of each node never starts where one is missing.

    Do: look for the missing GPU on the bus, or plan for the smaller number.
    $ ssh {node} 'lspci | grep -iE "nvidia|3d controller|accelerator"'
    """
    same = peers.by(gpu_count)
    assert same.agree(node), same.finding(node, "GPUs")


def gpu_models(node: Node) -> tuple[str, ...]:
    return tuple(sorted({gpu.name for gpu in node.gpus}))


@on_gpus
@pytest.mark.advice
def check_gpu_models_are_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """A parallel group goes as fast as its slowest GPU and holds as much as its smallest.

    Do: keep each parallel group on GPUs of one model.
    $ ssh {node} nvidia-smi -L
    """
    same = peers.by(gpu_models)
    assert same.agree(node), same.finding(node, "GPU model")


def mig_modes(node: Node) -> tuple[bool, ...]:
    return tuple(sorted({gpu.mig for gpu in node.gpus}))


@on_gpus
def check_mig_mode_is_the_same_on_its_gpus(node: Node) -> None:
    """Engines do not run one tensor-parallel group over MIG slices and whole GPUs.

    Do: switch MIG on or off on all GPUs alike (nvidia-smi -mig, needs root and an idle GPU).
    $ ssh {node} nvidia-smi --query-gpu=index,mig.mode.current --format=csv
    """
    enabled = [f"gpu:{gpu.index}" for gpu in node.gpus if gpu.mig]
    assert len(enabled) in (0, len(node.gpus)), finding(f"MIG enabled on {', '.join(enabled)} only", "on all or none")


@on_gpus
@pytest.mark.needs("check_mig_mode_is_the_same_on_its_gpus")
def check_mig_mode_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """A placement that counts GPUs finds slices on one node and whole GPUs on another.

    Do: switch MIG on or off on all nodes alike (nvidia-smi -mig, needs root and an idle GPU).
    $ ssh {node} nvidia-smi --query-gpu=index,mig.mode.current --format=csv
    """
    same = peers.by(mig_modes)
    assert same.agree(node), same.finding(node, "MIG enabled:")


@pytest.mark.cause("gpu_memory_taken_by_other_process")
def check_gpu_memory_is_free(gpu: Gpu) -> None:
    """Engines take their share of memory at start; what another process holds makes them end with "out of memory".

    Do: end the process if it is a leftover, or leave this GPU out.
    $ ssh {node} nvidia-smi --id={subject} --query-compute-apps=pid,name,used_memory --format=csv
    """
    foreign = [process for process in gpu.processes if not process.ours]
    found = f"{size(gpu.used_bytes)} of {size(gpu.total_bytes)} in use"
    owners = ", ".join(f"pid {process.pid} {process.name or ''}".strip() for process in foreign)
    free = not foreign and gpu.used_bytes <= idle_bytes(gpu)
    assert free, finding(f"{found}{' by ' + owners if owners else ''}", "no other process on it")


@pytest.mark.cause("exclusive_compute_mode")
def check_gpu_compute_mode_lets_us_in(gpu: Gpu) -> None:
    """In exclusive mode a GPU admits one process; beside another, or prohibited, CUDA says "busy or unavailable".

    Do: nvidia-smi -i {subject} -c DEFAULT (needs root), or end the process that holds it.
    $ ssh {node} nvidia-smi --id={subject} --query-gpu=compute_mode --format=csv
    """
    held = gpu.compute_mode == "exclusive_process" and any(not process.ours for process in gpu.processes)
    admits = gpu.compute_mode != "prohibited" and not held
    assert admits, finding(f"compute mode {gpu.compute_mode}{', and held' if held else ''}", "default")


def major(version: str) -> int:
    return int(version.split(".", maxsplit=1)[0])


def is_bridged(node: Node, needed: str) -> bool:
    """Whether the forward compatibility package stands in for an older driver."""
    view = node.torch_view
    return view is not None and view.libcuda is not None and major(view.libcuda) >= major(needed)


@on_gpus
@pytest.mark.applies(lambda node: node.software.cuda is not None, reason="no CUDA build of torch")
@pytest.mark.applies(lambda node: on_the_bus(node) > 0, reason="no NVIDIA GPU")
@pytest.mark.cause("driver_too_old")
def check_driver_supports_the_cuda_of_torch(node: Node) -> None:
    """A driver runs programs of its own CUDA major version and older ones; newer ones end with error 35 or 803.

    Do: update the driver, or install the build of torch for an older CUDA.
    $ ssh {node} 'nvidia-smi | head -4'
    """
    if not node.gpus:
        raise NotMeasured("no GPU on the bus answers")
    supported, needed = node.gpus[0].cuda_driver, node.software.cuda or "0"
    enough = supported is not None and major(supported) >= major(needed)
    assert enough or is_bridged(node, needed), finding(
        f"the driver supports CUDA {supported}", f"at least the major version of {needed}"
    )
