"""Are the NVLinks up, all of them and without errors, and is the NVSwitch fabric set up and managed?"""

import pytest

from diag.facts.derived import NAMED_GPUS, has_accelerator, has_nvidia, nvidia_gpus, of_gpus
from diag.facts.device import Gpu, NvLink
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.record import NotMeasured
from diag.facts.verdict import finding

DAMAGED_A_SECOND = 100
"""DCGM's own limit: DCGM_LIMIT_MAX_NVLINK_CRC_ERROR in its dcgm_gpu_hardware_limits.h."""

on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")
of_nvidia = pytest.mark.applies(lambda gpu: gpu.vendor == "nvidia", reason="not an NVIDIA GPU")
on_nvidia = pytest.mark.applies(has_nvidia, reason="no NVIDIA GPU")


def links_up(gpu: Gpu) -> int:
    return sum(link.active for link in gpu.links)


def must_link(node: Node, gpu: Gpu) -> bool:
    """Whether it is certain that one without a link is wrong: NVSwitches are there for it, it is whole (no MIG), and
    it is not alone, as in a partition of one.
    """
    switched = completed(gpu) or (node.gpu_system is not None and node.gpu_system.nvswitches > 0)
    return switched and not gpu.mig and len(nvidia_gpus(node)) > 1


def fewer_links(node: Node) -> list[str]:
    """GPUs with fewer than the best of that model. Without NVSwitches a GPU may have no bridge at all."""
    best: dict[str, int] = {}
    counted = []
    for gpu in nvidia_gpus(node):
        up = links_up(gpu)
        best[gpu.name] = max(up, best.get(gpu.name, 0))
        if gpu.links and (up or in_fabric(gpu) or must_link(node, gpu)):
            counted.append((gpu, up))
    fewer = []
    for gpu, up in counted:
        found = f"gpu:{gpu.index}: {up} of {len(gpu.links)} NVLinks are up"
        if up < best[gpu.name]:
            fewer.append(f"{found}, of its siblings {best[gpu.name]}")
        elif not up and must_link(node, gpu):
            fewer.append(found)
    return fewer


def has_links(node: Node) -> bool:
    return any(gpu.links for gpu in nvidia_gpus(node))


@on_nvidia
@pytest.mark.applies(has_links, reason="no NVLink")
@pytest.mark.cause("nvlink_down")
def check_gpus_have_equally_many_nvlinks_up(node: Node) -> None:
    """NCCL uses as many links as all have: one that is down slows the whole node, or sends it over PCIe.

    Do: reset all GPUs of the node together (needs root), restart the Fabric Manager; then replace the board.
    $ ssh {node} nvidia-smi nvlink --status
    """
    fewer = fewer_links(node)
    more = f"; and {len(fewer) - NAMED_GPUS} more" if len(fewer) > NAMED_GPUS else ""
    assert not fewer, finding("; ".join(fewer[:NAMED_GPUS]) + more, "as many as its siblings, and not none")


def unused_links(gpu: Gpu) -> str:
    up = links_up(gpu)
    return f"{up} of {len(gpu.links)}" if completed(gpu) and 0 < up < len(gpu.links) else ""


@on_nvidia
@pytest.mark.applies(has_links, reason="no NVLink")
@pytest.mark.optional
@pytest.mark.advice
@pytest.mark.needs("check_gpus_have_equally_many_nvlinks_up")
def check_gpus_of_a_fabric_use_all_their_nvlinks(node: Node) -> None:
    """All GPUs lack links alike where a switch is down, or the model has fewer than the chip; all-reduces are slower.

    Do: compare with the data sheet of this model; restart the Fabric Manager after a reset of all GPUs (needs root).
    $ ssh {node} nvidia-smi nvlink --status
    """
    found = of_gpus(node, unused_links)
    assert not found, finding(f"NVLinks up: {found}", "all that the driver lists")


def nvlinks(node: Node) -> tuple[int, ...]:
    """The numbers of links up that its GPUs have."""
    return tuple(sorted({links_up(gpu) for gpu in nvidia_gpus(node)}))


@on_nvidia
@pytest.mark.needs("check_gpus_have_equally_many_nvlinks_up")
@pytest.mark.cause("nvlink_down")
def check_nvlinks_are_as_many_as_on_peers(node: Node, peers: Peers) -> None:
    """A node whose GPUs have fewer links than those of the others is the slow one in every collective.

    Do: compare the boards; reset all GPUs of the node together (needs root) and restart the Fabric Manager.
    $ ssh {node} nvidia-smi nvlink --status
    """
    same = peers.by(nvlinks)
    assert same.agree(node), same.finding(node, "NVLinks up:")


def counts(link: NvLink) -> bool:
    return (link.replays, link.recoveries, link.crc_errors) != (None, None, None)


def link_errors(gpu: Gpu, uptime_s: float) -> str:
    bad = [link for link in gpu.links if link.replays or link.recoveries]
    damaged = [link for link in gpu.links if link.crc_errors and link.crc_errors >= DAMAGED_A_SECOND * uptime_s]
    rows = []
    if bad:
        replays, recoveries = (sum(getattr(link, name) or 0 for link in bad) for name in ("replays", "recoveries"))
        rows += [f"{replays} replays and {recoveries} recoveries on links {numbers(bad)}"]
    if damaged:
        rows += [f"{sum(link.crc_errors or 0 for link in damaged)} damaged packets on links {numbers(damaged)}"]
    return " and ".join(rows)


def numbers(links: list[NvLink]) -> str:
    return ", ".join(str(link.index) for link in links)


@on_nvidia
@pytest.mark.applies(has_links, reason="no NVLink")
@pytest.mark.optional
@pytest.mark.advice
@pytest.mark.cause("nvlink_down")
def check_nvlinks_repeat_and_recover_nothing(node: Node) -> None:
    """A link that recovers stops for a moment, and goes down for good sooner than its neighbours.

    Do: look whether the counts rise under load; then replace the board, or the GPU at the other end.
    $ ssh {node} nvidia-smi nvlink --errorcounters
    """
    uptime_s = node.system.uptime_s
    found = of_gpus(node, lambda gpu: link_errors(gpu, uptime_s))
    few = f"none since the driver was loaded, of damaged packets fewer than {DAMAGED_A_SECOND} a second"
    assert not found, finding(found, few)
    if not any(counts(link) for gpu in nvidia_gpus(node) for link in gpu.links):
        raise NotMeasured("no link tells a counter")


def in_fabric(gpu: Gpu) -> bool:
    return gpu.fabric is not None and gpu.fabric.state != "not_supported"


def completed(gpu: Gpu) -> bool:
    return gpu.fabric is not None and gpu.fabric.state == "completed"


@of_nvidia
@pytest.mark.applies(in_fabric, reason="no NVSwitch fabric")
@pytest.mark.cause("fabric_manager_or_nvswitch_state")
def check_nvswitch_fabric_took_the_gpu_in(gpu: Gpu) -> None:
    """Until the NVSwitch fabric is set up, CUDA ends with error 802 "system not yet initialized".

    Do: start the Fabric Manager of the driver's version (systemctl restart nvidia-fabricmanager, needs root).
    $ ssh {node} 'nvidia-smi -q -i {subject} | grep -A3 -i fabric; systemctl status nvidia-fabricmanager'
    """
    fabric = gpu.fabric
    assert fabric is not None
    well = fabric.state == "completed" and fabric.status == "success" and not fabric.health
    health = f", {', '.join(fabric.health)}" if fabric.health else ""
    assert well, finding(f"fabric {fabric.state}, {fabric.status}{health}", "completed, success")


def needs_manager(node: Node) -> bool:
    """Where the switches are on this machine's bus; those of virtual machines and of racks are managed elsewhere."""
    return node.gpu_system is not None and node.gpu_system.nvswitches > 0


@on_gpus
@pytest.mark.applies(needs_manager, reason="no NVSwitch on its bus")
@pytest.mark.optional
@pytest.mark.cause("fabric_manager_or_nvswitch_state")
def check_fabric_manager_runs(node: Node) -> None:
    """The fabric stays "completed" after its manager has died; the next reset or link error then ends NVLink traffic.

    Do: systemctl enable --now nvidia-fabricmanager (needs root), of exactly the driver's version.
    $ ssh {node} 'systemctl status nvidia-fabricmanager; cat /proc/driver/nvidia/version'
    """
    assert node.gpu_system is not None
    state = node.gpu_system.fabric_manager
    assert state == "active", finding(f"Fabric Manager {state or 'not installed'}", "active")


def sees_no_switch(node: Node) -> bool:
    """In a fabric, a Fabric Manager installed, and no switch of it on this bus: on boards of B200, and in guests."""
    system = node.gpu_system
    unseen = system is not None and system.nvswitches == 0 and system.fabric_manager is not None
    return unseen and any(in_fabric(gpu) for gpu in nvidia_gpus(node))


@on_nvidia
@pytest.mark.applies(sees_no_switch, reason="NVSwitches are on its bus, or no Fabric Manager is installed")
@pytest.mark.optional
@pytest.mark.advice
@pytest.mark.cause("fabric_manager_or_nvswitch_state")
def check_fabric_manager_of_unseen_switches_has_not_failed(node: Node) -> None:
    """Boards of B200 and later show their NVSwitches otherwise: there a failed manager ends NVLink at the next reset.

    Do: systemctl restart nvidia-fabricmanager (needs root); in a virtual machine, whose host manages them, disable it.
    $ ssh {node} 'systemctl status nvidia-fabricmanager; systemd-detect-virt'
    """
    assert node.gpu_system is not None
    state = node.gpu_system.fabric_manager
    assert state != "failed", finding(f"Fabric Manager {state}", "active, or not meant to run here")
