"""Which errors of GPUs and NVSwitches did the kernel log, and which were counted under load?"""

import pytest

from diag.facts.derived import has_nvidia, loads
from diag.facts.device import Gpu, Xid
from diag.facts.node import Node
from diag.facts.record import is_known, peek
from diag.facts.verdict import finding
from diag.facts.xids import XIDS
from diag.units import seconds

SHOWN = 4
"""So many errors are named in a finding; the rest are counted."""

on_nvidia = pytest.mark.applies(has_nvidia, reason="no NVIDIA GPU")


def told(node: Node, xids: list[Xid]) -> str:
    """``Xid 79 (the GPU has fallen off the bus) on gpu:3, 2.1 h after start``."""
    gpus = node.gpus if is_known(node, "gpus") else ()  # the one that was logged may be why none answers
    names = {peek(gpu, "pci_address"): f"gpu:{gpu.index}" for gpu in gpus}
    rows = []
    for xid in xids[-SHOWN:]:
        known = XIDS.get(xid.code)
        meaning = known.meaning if known and not xid.switch else xid.said[:60]
        when = "" if xid.at_s is None else f", {seconds(xid.at_s)} after start"
        word = "SXid" if xid.switch else "Xid"
        rows.append(f"{word} {xid.code} ({meaning}) on {names.get(xid.pci_address, xid.pci_address)}{when}")
    more = f"; and {len(xids) - SHOWN} more" if len(xids) > SHOWN else ""
    return "; ".join(rows) + more


def logged(node: Node, kind: str) -> list[Xid]:
    return [xid for xid in node.xids if not xid.switch and xid.code in XIDS and XIDS[xid.code].kind == kind]


def fatal(node: Node) -> list[Xid]:
    """Errors of NVSwitches that the driver calls so."""
    return [xid for xid in node.xids if xid.switch and xid.said.startswith("Fatal")]


@pytest.mark.asked(loads, reason="level passive makes no load")
@pytest.mark.optional
@pytest.mark.cause("gpu_hardware_fault")
def check_no_error_of_a_gpu_was_counted_under_load(gpu: Gpu, node: Node) -> None:
    """A GPU that counts errors in a minute of load counts them all day: packets sent again slow it, the rest end jobs.

    Do: drain the node, reset the GPU, reseat it or its board; replace it if the count rises again.
    $ ssh {node} nvidia-smi --id={subject} --query --display=ECC,ROW_REMAPPER
    """
    rows = [f"{rise.by} {rise.counter}" for rise in node.speed.rises if rise.gpu == gpu.index and rise.grave]
    assert not rows, finding("; ".join(rows[:SHOWN]), "no error counted while it was measured")


@on_nvidia
@pytest.mark.asked(loads, reason="level passive makes no load")
@pytest.mark.optional
@pytest.mark.cause("gpu_hardware_fault")
def check_no_error_beside_its_gpus_was_counted_under_load(node: Node) -> None:
    """An NVSwitch that fails under load ends the jobs of all GPUs behind it; none of them counts an error of its own.

    Do: drain the node, reset its GPUs and switches together; replace the board if it comes back.
    $ ssh {node} 'sudo dmesg --ctime | grep -i xid | tail'
    """
    rows = [f"{rise.by} {rise.counter}" for rise in node.speed.rises if rise.gpu is None and rise.grave]
    assert not rows, finding("; ".join(rows[:SHOWN]), "no error logged while the GPUs were measured")


@on_nvidia
@pytest.mark.optional
@pytest.mark.cause("xid79_gpu_off_bus")
def check_no_gpu_fell_off_the_bus_since_the_start(node: Node) -> None:
    """A GPU that was gone once (power, heat, riser, firmware) goes again, and takes the run with it.

    Do: drain the node, power-cycle it, reseat or replace the GPU.
    $ ssh {node} 'sudo dmesg --ctime | grep -i xid | tail'
    """
    found = logged(node, "bus")
    assert not found, finding(told(node, found), "none since the machine started")


@on_nvidia
@pytest.mark.optional
@pytest.mark.cause("gpu_memory_ecc_error")
def check_no_memory_error_of_a_gpu_was_logged(node: Node) -> None:
    """Memory of a GPU that failed once ends the programs that use it, until the GPU is reset or replaced.

    Do: reset the GPU when it is idle (nvidia-smi --gpu-reset, needs root); replace it if it comes back.
    $ ssh {node} 'sudo dmesg --ctime | grep -i xid | tail'
    """
    found = logged(node, "memory")
    assert not found, finding(told(node, found), "none since the machine started")


@on_nvidia
@pytest.mark.optional
@pytest.mark.cause("gpu_hardware_fault")
def check_no_hardware_error_of_a_gpu_was_logged(node: Node) -> None:
    """NVLink, firmware and engine errors end jobs, or slow the links down; most come back until somebody acts.

    Do: drain the node, reset the GPU, run dcgmi diag; replace it if it comes back.
    $ ssh {node} 'sudo dmesg --ctime | grep -i xid | tail'
    """
    found = [*logged(node, "hardware"), *fatal(node)]
    assert not found, finding(told(node, found), "none since the machine started")


@on_nvidia
@pytest.mark.optional
@pytest.mark.advice
@pytest.mark.cause("kernel_illegal_access_xid31_13")
def check_no_other_error_of_a_gpu_was_logged(node: Node) -> None:
    """Mostly a program's own mistake: one that comes back with every job points to an engine, a kernel, or a weak GPU.

    Do: compare the time with your jobs; look the code up in NVIDIA's Xid catalog.
    $ ssh {node} 'sudo dmesg --ctime | grep -i xid | tail'
    """
    grave = [*logged(node, "bus"), *logged(node, "memory"), *logged(node, "hardware"), *fatal(node)]
    found = [xid for xid in node.xids if xid not in grave]
    assert not found, finding(told(node, found), "none since the machine started")
