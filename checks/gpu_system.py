"""Do driver, files, services and bridges let the GPUs work, and do so alike on all nodes?"""

import pytest

from diag.facts.derived import accelerators, filesystem, has_accelerator, has_nvidia, hcas, in_container, past_quick
from diag.facts.device import GpuSystem
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.record import NotMeasured
from diag.facts.verdict import finding

PEER_MODULES = ("nvidia_peermem", "nv_peer_mem")
OPENED = ("amd", "hygon", "metax", "ascend")
"""Vendors beside NVIDIA of which it is known which files a program opens."""
ONE_SWITCH = ("PIX", "PXB")
"""Paths that stay below the host bridge, unless ACS sends them up."""

on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")


on_nvidia = pytest.mark.applies(has_nvidia, reason="no NVIDIA GPU")


def system(node: Node) -> GpuSystem:
    if node.gpu_system is None:
        raise NotMeasured("the node found no accelerator when it was asked about its system")
    return node.gpu_system


@on_nvidia
@pytest.mark.cause("nvml_driver_library_mismatch")
def check_driver_library_is_of_the_loaded_driver(node: Node) -> None:
    """After a driver's update without a reboot nothing starts: "Driver/library version mismatch".

    Do: reboot, or end all users of the GPUs and reload the nvidia modules (needs root).
    $ ssh {node} 'cat /proc/driver/nvidia/version; nvidia-smi'
    """
    mismatch = system(node).library_mismatch
    assert mismatch is None, finding(f"{mismatch}", "library and kernel module of one version")


def files_are_read(node: Node) -> bool:
    """NVIDIA's always; those of others beside a tool: without one it may be a processor's own graphics."""
    return has_nvidia(node) or bool(system(node).files) or any(gpu.vendor in OPENED for gpu in node.gpus)


@on_gpus
@pytest.mark.applies(files_are_read, reason="no GPU whose device files are looked at")
@pytest.mark.cause("container_loses_gpu_cgroup_reload")
def check_device_files_are_open_to_us(node: Node) -> None:
    """A program opens /dev/nvidia*, /dev/kfd or their like: else it sees no GPU, though root's tool shows all of them.

    Do: add the user to their group (NVIDIA: run nvidia-modprobe -u -c0); in a container, recreate it with its devices.
    $ ssh {node} 'ls -l /dev/nvidia* /dev/kfd /dev/dri/render* /dev/mxcd /dev/davinci*; id'
    """
    closed = system(node).files
    assert not closed, finding("; ".join(closed[:4]), "all readable and writable")


@on_nvidia
@pytest.mark.applies(lambda node: bool(hcas(node)), reason="no HCA")
@pytest.mark.advice
@pytest.mark.cause("gdr_peermem_missing")
def check_hcas_can_reach_gpu_memory(node: Node) -> None:
    """Without GPUDirect RDMA every message between nodes is copied through the host's memory: half the bandwidth.

    Do: modprobe nvidia-peermem (needs root), or use the open driver with Linux 5.12 or newer (DMA-BUF).
    $ ssh {node} 'lsmod | grep -E "peermem|peer_mem"; head -2 /proc/driver/nvidia/version; uname -r'
    """
    loaded = [name for name in system(node).modules if name in PEER_MODULES]
    assert loaded or system(node).dma_buf, finding("neither nvidia-peermem nor DMA-BUF", "one of them")


@on_gpus
@pytest.mark.applies(lambda node: len(accelerators(node)) + len(hcas(node)) > 1, reason="one device: it has no peer")
@pytest.mark.advice
@pytest.mark.cause("acs_iommu_breaks_p2p")
def check_iommu_lets_peers_through(node: Node) -> None:
    """An IOMMU that translates sends traffic between two devices through the host: slower, and on some boards it hangs.

    Do: boot with iommu=pt, or switch VT-d / AMD-Vi off in the BIOS where no virtual machine needs it.
    $ ssh {node} 'cat /proc/cmdline; cat /sys/kernel/iommu_groups/*/type | sort | uniq -c'
    """
    iommu = system(node).iommu
    assert iommu in ("off", "passthrough"), finding(f"IOMMU: {iommu}", "off or passthrough")


@on_gpus
@pytest.mark.applies(lambda node: any(pair.path in ONE_SWITCH for pair in node.between), reason="no shared PCIe switch")
@pytest.mark.optional
@pytest.mark.cause("acs_iommu_breaks_p2p")
def check_bridges_do_not_redirect_peers(node: Node) -> None:
    """With ACS a PCIe switch sends what two of its devices say to each other up to the host: slow, or it hangs.

    Do: switch ACS off in the BIOS, or on each bridge with setpci (needs root; not where virtual machines need it).
    $ ssh {node} "sudo lspci -vvv | grep -E '^[0-9a-f]|ACSCtl' | grep -B1 'ReqRedir+'"
    """
    redirecting = [bridge.address for bridge in system(node).bridges if bridge.acs]
    assert not redirecting, finding(f"ACS redirects on {', '.join(redirecting[:6])}", "no redirection")


@on_nvidia
@pytest.mark.applies(lambda node: not in_container(node), reason="a container needs none of its own")
@pytest.mark.applies(lambda node: filesystem(node, "containers") is not None, reason="no container runtime here")
@pytest.mark.advice
@pytest.mark.cause("container_gpu_runtime_missing")
def check_containers_can_be_given_gpus(node: Node) -> None:
    """Without NVIDIA's container toolkit an engine's image starts and sees no GPU.

    Do: install nvidia-container-toolkit, then nvidia-ctk runtime configure (needs root).
    $ ssh {node} 'nvidia-container-cli --version; docker info --format "{{.Runtimes}}"'
    """
    found = system(node).container_toolkit
    assert found is not None, finding("a container runtime without NVIDIA's container toolkit", "installed")


@on_nvidia
@pytest.mark.advice
def check_gpus_are_not_shared_by_mps(node: Node) -> None:
    """Under MPS several programs share a GPU: its memory and time are not ours alone, and one that faults ends all.

    Do: end the MPS daemon (echo quit | nvidia-cuda-mps-control) where engines shall have whole GPUs.
    $ ssh {node} 'ps -C nvidia-cuda-mps-control,nvidia-cuda-mps-server -o pid,user,args'
    """
    assert not system(node).mps, finding("the MPS daemon runs", "no MPS")


@on_nvidia
@pytest.mark.applies(lambda node: not in_container(node), reason="the host keeps the driver loaded")
@pytest.mark.advice
def check_driver_stays_loaded_when_idle(node: Node) -> None:
    """Without persistence each start of a program sets its GPU up anew: seconds, and counters begin at zero.

    Do: systemctl enable --now nvidia-persistenced (needs root).
    $ ssh {node} nvidia-smi --query-gpu=index,persistence_mode --format=csv
    """
    off = [f"gpu:{gpu.index}" for gpu in node.gpus if gpu.vendor == "nvidia" and gpu.persistence is False]
    assert not off, finding(f"persistence off on {', '.join(off)}", "on, or nvidia-persistenced")


@on_nvidia
@pytest.mark.applies(lambda node: system(node).dcgm is not None, reason="DCGM is not installed")
@pytest.mark.optional
@pytest.mark.cause("gpu_hardware_fault")
def check_dcgm_finds_its_gpus_healthy(node: Node) -> None:
    """NVIDIA's own watch over the GPUs sees what one look cannot: rates of errors, and power and heat over time.

    Do: look at what it found, then dcgmi diag -r 2 on the idle node.
    $ ssh {node} dcgmi health --check
    """
    assert system(node).dcgm == "healthy", finding(f"{system(node).dcgm}", "healthy")


@on_nvidia
@pytest.mark.asked(past_quick, reason="level normal or burn asks for it")
@pytest.mark.applies(lambda node: node.speed.dcgm_failures is not None, reason="DCGM is not installed")
@pytest.mark.optional
@pytest.mark.cause("gpu_hardware_fault")
def check_dcgm_diagnosis_passes(node: Node) -> None:
    """NVIDIA's own short diagnosis looks at what an engine needs: libraries, permissions, persistence, pages, rows.

    Do: look at what it found, then dcgmi diag -r 2 on the idle node.
    $ ssh {node} dcgmi diag -r 1
    """
    failures = node.speed.dcgm_failures or ()
    more = f"; {len(failures) - 2} more" if len(failures) > 2 else ""
    assert not failures, finding("; ".join(failures[:2]) + more, "no test of dcgmi diag -r 1 failed")


@on_nvidia
@pytest.mark.asked(past_quick, reason="level normal or burn asks for it")
@pytest.mark.applies(lambda node: node.speed.dcgm_warnings is not None, reason="DCGM is not installed")
@pytest.mark.optional
@pytest.mark.advice
def check_dcgm_diagnosis_warns_of_nothing(node: Node) -> None:
    """What NVIDIA's short diagnosis only warns of costs time at a start, or hides a fault: no persistence, other users.

    Do: look at what it warns of, then dcgmi diag -r 2 on the idle node.
    $ ssh {node} dcgmi diag -r 1
    """
    warnings = node.speed.dcgm_warnings or ()
    more = f"; {len(warnings) - 2} more" if len(warnings) > 2 else ""
    assert not warnings, finding("; ".join(warnings[:2]) + more, "every test of dcgmi diag -r 1 passed or skipped")


def firmwares(node: Node) -> tuple[str, ...]:
    return tuple(sorted({f"{gpu.name}: {gpu.vbios}" for gpu in node.gpus}))


@on_gpus
@pytest.mark.applies(has_nvidia, reason="no NVIDIA GPU")
@pytest.mark.advice
def check_vbios_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """GPUs of one model with another firmware have other clocks, power limits and repairs of known faults.

    Do: bring all to the newest that the machine's maker gives out.
    $ ssh {node} nvidia-smi --query-gpu=index,name,vbios_version --format=csv
    """
    same = peers.by(firmwares)
    assert same.agree(node), same.finding(node, "VBIOS")
