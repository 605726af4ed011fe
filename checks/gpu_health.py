"""Is each GPU sound: its memory, its heat, its power and clocks?"""

import pytest

from diag.facts.derived import has_nvidia, loads, nvidia_gpus, of_gpus
from diag.facts.device import UNSAID, Gpu
from diag.facts.node import Node
from diag.facts.peers import Peers
from diag.facts.record import NotMeasured, Record, peek
from diag.facts.under_load import HARDWARE, clocks_told, slowed_by
from diag.facts.verdict import finding

SOFTWARE_SLOWS = ("sw_power_cap", "sw_thermal_slowdown", "board_limit", "reliability")

MOST_ROWS = 512
"""Remapped after uncorrectable errors; with more Azure's node health checks (azurehpc-health-checks) fail a GPU."""

of_nvidia = pytest.mark.applies(lambda gpu: gpu.vendor == "nvidia", reason="not an NVIDIA GPU")
on_nvidia = pytest.mark.applies(has_nvidia, reason="no NVIDIA GPU")


def says(record: Record, field: str) -> bool:
    """Whether it has such a thing, and its vendor's tool is one that tells of it."""
    return peek(record, field) not in (None, UNSAID)


def says_of_memory(gpu: Gpu, field: str) -> bool:
    """Of memory that it takes out of use."""
    return says(gpu, "retired") and gpu.retired is not None and says(gpu.retired, field)


@pytest.mark.applies(lambda gpu: gpu.health is not None, reason="its vendor's tool has no word for its health")
@pytest.mark.cause("gpu_hardware_fault")
def check_gpu_is_well_as_its_vendor_says(gpu: Gpu) -> None:
    """What the vendor's own tool does not call healthy fails under load, mostly in the middle of it.

    Do: look into the vendor's log of the device, reset it, or leave it out.
    $ ssh {node} 'mx-smi; npu-smi info; rocm-smi --showhw; dmesg | tail'
    """
    assert gpu.health == "ok", finding(f"{gpu.health}", "ok")


def counts_errors(gpu: Gpu) -> bool:
    """Some tools count errors and do not say whether ECC is on."""
    return gpu.ecc is not None and gpu.ecc.enabled is not False and gpu.ecc.volatile_uncorrected is not None


@pytest.mark.applies(counts_errors, reason="it has no ECC, or it is switched off, or its tool counts no such errors")
@pytest.mark.cause("gpu_memory_ecc_error")
def check_gpu_has_no_uncorrected_memory_errors(gpu: Gpu) -> None:
    """An uncorrectable error ends the program that used that memory, or leaves wrong numbers in its results.

    Do: reset the GPU so that the memory is taken out of use; replace it if the count rises again.
    $ ssh {node} 'nvidia-smi -i {subject} -q -d ECC,ROW_REMAPPER || amd-smi metric --ecc || mx-smi --count-ecc'
    """
    assert gpu.ecc is not None
    found = gpu.ecc.volatile_uncorrected
    assert not found, finding(f"{found} uncorrected errors since the driver was loaded", "none")


def ecc_modes(node: Node) -> tuple[str, ...]:
    """Alike on all its GPUs: one entry."""
    modes = {"none" if gpu.ecc is None else "on" if gpu.ecc.enabled else "off" for gpu in node.gpus}
    return tuple(sorted(modes))


@on_nvidia
def check_ecc_mode_is_the_same_on_its_gpus(node: Node) -> None:
    """ECC takes memory and speed where it is on: a parallel group then has ranks of two sizes.

    Do: nvidia-smi -e 1 on all (needs root), then reset the GPUs.
    $ ssh {node} nvidia-smi --query-gpu=index,ecc.mode.current,ecc.mode.pending --format=csv
    """
    off = [f"gpu:{gpu.index}" for gpu in node.gpus if gpu.ecc is not None and not gpu.ecc.enabled]
    assert len(ecc_modes(node)) <= 1, finding(f"ECC off on {', '.join(off)} only", "on or off on all")


@on_nvidia
@pytest.mark.needs("check_ecc_mode_is_the_same_on_its_gpus")
def check_ecc_mode_is_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """With ECC off on one node its memory errors go unseen, and its GPUs are larger and faster than the others.

    Do: nvidia-smi -e 1 on all nodes (needs root), then reset the GPUs.
    $ ssh {node} nvidia-smi --query-gpu=index,ecc.mode.current,ecc.mode.pending --format=csv
    """
    same = peers.by(ecc_modes)
    assert same.agree(node), same.finding(node, "ECC")


def ecc_to_come(gpu: Gpu) -> str:
    if gpu.ecc is None or gpu.ecc.pending in (None, gpu.ecc.enabled):
        return ""
    return "ECC is on and will be off" if gpu.ecc.enabled else "ECC is off and will be on"


@on_nvidia
@pytest.mark.advice
def check_no_change_of_ecc_is_pending(node: Node) -> None:
    """After the next reset its memory has another size, and a plan made now no longer fits it.

    Do: reset the GPU now (nvidia-smi --gpu-reset, needs root), or set the mode back.
    $ ssh {node} nvidia-smi --query-gpu=index,ecc.mode.current,ecc.mode.pending --format=csv
    """
    found = of_gpus(node, ecc_to_come)
    assert not found, finding(found, "no change pending")


@pytest.mark.applies(
    lambda gpu: says_of_memory(gpu, "pending"),
    reason="it takes no memory out of use, or its vendor's tool does not say what waits",
)
@pytest.mark.cause("gpu_memory_ecc_error")
def check_no_memory_waits_to_be_taken_out_of_use(gpu: Gpu) -> None:
    """Faulty memory stays in use until the GPU is reset; the program that meets it next ends there.

    Do: end what runs on it and reset it (nvidia-smi --gpu-reset --id={subject}, or as its vendor says), or reboot.
    $ ssh {node} 'nvidia-smi -i {subject} -q -d PAGE_RETIREMENT,ROW_REMAPPER || amd-smi bad-pages || npu-smi info'
    """
    assert gpu.retired is not None
    assert not gpu.retired.pending, finding(f"{gpu.retired.kind} of memory wait for a reset", "none pending")


@pytest.mark.applies(
    lambda gpu: says_of_memory(gpu, "failed"),
    reason="it takes no memory out of use, or its vendor's tool does not say where that failed",
)
@pytest.mark.cause("gpu_memory_ecc_error")
def check_faulty_memory_could_be_taken_out_of_use(gpu: Gpu) -> None:
    """Memory that could not be remapped or reserved stays faulty: no spare is left; after hundreds, others follow soon.

    Do: drain the node and have the GPU replaced.
    $ ssh {node} 'nvidia-smi -i {subject} -q -d ROW_REMAPPER || amd-smi bad-pages'
    """
    assert gpu.retired is not None
    found = "a row of memory could not be remapped" if gpu.retired.kind == "rows" else "a page could not be reserved"
    assert not gpu.retired.failed, finding(found, "all faulty memory out of use")
    remapped = gpu.retired.uncorrected if gpu.retired.kind == "rows" else 0
    assert remapped <= MOST_ROWS, finding(f"{remapped} rows remapped after uncorrected errors", f"at most {MOST_ROWS}")


@pytest.mark.applies(lambda gpu: says(gpu, "temperature_c"), reason="no sensor that its vendor's tool reads")
@pytest.mark.applies(lambda gpu: says(gpu, "slowdown_c"), reason="its vendor's tool does not say where it slows down")
@pytest.mark.cause("gpu_throttled")
def check_gpu_is_cooler_than_where_it_slows_down(gpu: Gpu) -> None:
    """At that temperature it halves its clocks, and every GPU that works with it waits.

    Do: look at fans, filters, the room, and what runs on it.
    $ ssh {node} 'nvidia-smi -i {subject} -q -d TEMPERATURE,PERFORMANCE || amd-smi metric -g {subject} --temperature'
    """
    assert gpu.temperature_c is not None
    assert gpu.slowdown_c is not None
    assert gpu.temperature_c < gpu.slowdown_c, finding(f"{gpu.temperature_c} °C", f"below {gpu.slowdown_c} °C")


@pytest.mark.applies(
    lambda gpu: says(gpu, "throttled_by"),
    reason="its driver or its vendor's tool does not say what holds its clocks back",
)
@pytest.mark.needs("check_gpu_is_cooler_than_where_it_slows_down")
@pytest.mark.cause("gpu_throttled")
def check_gpu_is_not_slowed_down_by_its_board(gpu: Gpu) -> None:
    """Heat, a weak power supply or its brake signal cut the clocks, mostly to a half or less, whatever runs there.

    Do: look at cooling, power cables and power supplies; then the node's own log (BMC).
    $ ssh {node} 'nvidia-smi -i {subject} -q -d PERFORMANCE,POWER || amd-smi metric -g {subject} --throttle --power'
    """
    slowed = [reason for reason in gpu.throttled_by or () if reason in HARDWARE]
    assert not slowed, finding(f"clocks are cut by {', '.join(slowed)}", "no slowdown by hardware")


@pytest.mark.asked(loads, reason="level passive makes no load")
@of_nvidia
@pytest.mark.optional
@pytest.mark.needs("check_gpu_is_not_slowed_down_by_its_board")
@pytest.mark.cause("gpu_throttled")
def check_gpu_is_not_slowed_down_under_load(gpu: Gpu, node: Node) -> None:
    """Heat and power supplies cut the clocks once a GPU works hard; idle, it shows nothing of that.

    Do: look at fans, the air in front of it and the power supplies; meanwhile it holds back whoever computes with it.
    $ ssh {node} nvidia-smi --id={subject} --query --display=PERFORMANCE,TEMPERATURE,POWER,CLOCK
    """
    rows = [row for row in node.speed.loads if row.gpu == gpu.index and row.told]
    if not rows:
        raise NotMeasured("it was not seen busy while NVML was asked, or does not say what holds its clocks back")
    for row in rows:
        slowed = slowed_by(row)
        assert not slowed, finding(
            f"in {row.during} {clocks_told(row, gpu) or f'slowed by {slowed[0]}'}",
            "no cut by heat or by the power supply",
        )


def held_back(gpu: Gpu) -> str:
    return ", ".join(reason for reason in gpu.throttled_by or () if reason in SOFTWARE_SLOWS)


@on_nvidia
@pytest.mark.applies(
    lambda node: any(gpu.throttled_by is not None for gpu in nvidia_gpus(node)),
    reason="its driver does not say what holds clocks back",
)
@pytest.mark.advice
@pytest.mark.cause("gpu_throttled")
def check_gpus_are_not_slowed_down_by_their_driver(node: Node) -> None:
    """The driver holds the clocks back to stay within a power cap or a temperature: results vary from run to run.

    Do: look at the power cap and the cooling; under full load a power cap is normal.
    $ ssh {node} nvidia-smi --query --display=PERFORMANCE,POWER
    """
    found = of_gpus(node, held_back)
    assert not found, finding(f"clocks are held back: {found}", "no limit in effect")


def lower_cap(gpu: Gpu) -> str:
    cap, usual = gpu.power_cap_w, gpu.power_default_w
    return "" if cap is None or usual is None or cap >= usual else f"a cap of {cap} W instead of {usual} W"


@on_nvidia
@pytest.mark.advice
def check_power_caps_are_the_default(node: Node) -> None:
    """A lower cap costs speed under load, and a group goes as fast as its slowest GPU.

    Do: nvidia-smi --power-limit=WATTS (needs root), unless the cap is meant.
    $ ssh {node} nvidia-smi --query-gpu=index,power.limit,power.default_limit --format=csv
    """
    found = of_gpus(node, lower_cap)
    assert not found, finding(found, "the device's default")


def clock_limits(node: Node) -> tuple[str, ...]:
    """Of each model of its GPUs."""
    return tuple(sorted({f"{gpu.name}: {gpu.clocks.sm_max} and {gpu.clocks.memory_max} MHz" for gpu in node.gpus}))


@on_nvidia
@pytest.mark.advice
def check_clock_limits_are_the_same_on_all_nodes(node: Node, peers: Peers) -> None:
    """A group goes as fast as its slowest GPU: another board, firmware or a locked clock holds all of them back.

    Do: compare the models and their VBIOS; undo locked clocks (nvidia-smi --reset-gpu-clocks, needs root).
    $ ssh {node} nvidia-smi --query-gpu=index,clocks.max.sm,clocks.max.memory --format=csv
    """
    same = peers.by(clock_limits)
    assert same.agree(node), same.finding(node, "highest clocks")
