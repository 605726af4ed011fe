"""Are the GPUs' links as they should be: to the host, and to each other?"""

import pytest

from diag.facts.derived import has_accelerator, has_nvidia, of_gpus
from diag.facts.device import Gpu
from diag.facts.islands import LINK, is_joined, largest, linked
from diag.facts.node import Node
from diag.facts.record import NotMeasured
from diag.facts.verdict import finding

REPLAYS_A_MINUTE = 8
"""DCGM's own limit: DCGM_LIMIT_MAX_PCIREPLAY_RATE in its dcgm_gpu_hardware_limits.h."""
MINUTE_S = 60

has_links_between = pytest.mark.applies(
    lambda node: any(pair.path == LINK for pair in node.between), reason="no links between its GPUs"
)
on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")
of_nvidia = pytest.mark.applies(lambda gpu: gpu.vendor == "nvidia", reason="not an NVIDIA GPU")
on_nvidia = pytest.mark.applies(has_nvidia, reason="no NVIDIA GPU")
has_pcie = pytest.mark.applies(lambda gpu: gpu.pcie is not None, reason="it does not hang on PCIe")


@of_nvidia
@has_pcie
def check_gpu_slot_has_all_its_lanes(gpu: Gpu) -> None:
    """With half the lanes model loading, offloading and GPUs without NVLink go at half the speed.

    Do: put it into a slot with all lanes, or look at riser and BIOS (bifurcation).
    $ ssh {node} nvidia-smi --id={subject} --query-gpu=pcie.link.width.max,pcie.link.width.current --format=csv
    """
    assert gpu.pcie is not None
    width, own = gpu.pcie.width_max, gpu.pcie.device_width_max
    assert width is None or own is None or width >= own, finding(f"x{width} at most in this slot", f"x{own}")


def older_slot(gpu: Gpu) -> str:
    here, own = (gpu.pcie.generation_max, gpu.pcie.device_generation_max) if gpu.pcie else (None, None)
    return "" if here is None or own is None or here >= own else f"PCIe {here} at most, the device could {own}"


@on_nvidia
@pytest.mark.advice
def check_gpu_slots_are_of_their_generation(node: Node) -> None:
    """Each PCIe generation has twice the bandwidth of the one before it; an older host cannot be helped.

    Do: look for a BIOS setting that holds the slot at an older generation; plan loading times with what it gives.
    $ ssh {node} nvidia-smi --query-gpu=index,pcie.link.gen.max,pcie.link.gen.gpumax --format=csv
    """
    found = of_gpus(node, older_slot)
    assert not found, finding(found, "the device's own generation")


def fewer_lanes(gpu: Gpu) -> str:
    now, most = (gpu.pcie.width, gpu.pcie.width_max) if gpu.pcie else (0, None)
    return "" if most is None or now >= most else f"x{now} now, x{most} at most"


@on_nvidia
@pytest.mark.advice
@pytest.mark.needs("check_gpu_slot_has_all_its_lanes")
def check_gpus_use_all_their_lanes_now(node: Node) -> None:
    """Idle GPUs lower their link's speed on purpose, hardly ever its width: fewer lanes mostly mean a bad contact.

    Do: measure it under load (diag run --level quick); reseat the board if it stays so.
    $ ssh {node} nvidia-smi --query-gpu=index,pcie.link.width.current,pcie.link.width.max --format=csv
    """
    found = of_gpus(node, fewer_lanes)
    assert not found, finding(found, "all lanes")


@on_nvidia
@pytest.mark.advice
def check_gpus_seldom_repeat_packets(node: Node) -> None:
    """Every repeated packet was a broken one: a weak contact, riser or retimer, and the link slows down.

    Do: reseat the board; compare with its siblings after some hours under load.
    $ ssh {node} 'nvidia-smi --query --display=PCI | grep -i replay'
    """
    most = REPLAYS_A_MINUTE * node.system.uptime_s / MINUTE_S

    def repeats(gpu: Gpu) -> str:
        replays = gpu.pcie.replays if gpu.pcie else None
        return f"{replays} PCIe packets" if replays is not None and replays > most else ""

    found = of_gpus(node, repeats)
    assert not found, finding(f"repeated since the driver was loaded: {found}", f"at most {REPLAYS_A_MINUTE} a minute")


@on_nvidia
@has_links_between
@pytest.mark.cause("p2p_not_supported")
def check_linked_gpus_reach_each_other(node: Node) -> None:
    """NCCL and the engines' own all-reduce use NVLink only where the driver permits peer access; else all goes by PCIe.

    Do: look for a registry key of the driver that disables it, MIG, or a virtual machine's setting.
    $ ssh {node} 'nvidia-smi topo -p2p r; nvidia-smi topo -m'
    """
    linked = [pair for pair in node.between if pair.path == LINK]
    apart = [f"{pair.a} and {pair.b}: {pair.p2p}" for pair in linked if pair.p2p not in ("ok", None)]
    more = f"; and {len(apart) - 3} more" if len(apart) > 3 else ""
    assert not apart, finding("; ".join(apart[:3]) + more, "peer access between all that are linked")
    untold = sum(pair.p2p is None for pair in linked)
    if untold:
        raise NotMeasured(f"the driver did not say it of {untold} of {len(linked)} pairs")


@on_gpus
@has_links_between
@pytest.mark.optional
@pytest.mark.advice
def check_gpus_that_links_join_follow_each_other(node: Node) -> None:
    """Ranks take GPUs by their numbers: where links join every other one, each tensor-parallel group crosses islands.

    Do: start engines with the GPUs in this order: MACA_VISIBLE_DEVICES (MetaX), CUDA_VISIBLE_DEVICES; plans do it.
    $ diag plan --model MODEL
    """
    usual = tuple(sorted(gpu.index for gpu in node.gpus))
    pairs = linked(node)
    size, ordered = largest(usual, pairs)
    assert is_joined(usual, pairs, size), finding(
        f"links join {size} GPUs each, not neighbours in number", f"the order {','.join(map(str, ordered))}"
    )
