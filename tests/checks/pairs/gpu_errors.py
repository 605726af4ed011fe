"""Changes that make the checks of checks/gpu_errors.py fail."""

from __future__ import annotations

from diag.facts.device import Xid
from diag.facts.record import Missing
from diag.facts.speed import GpuRise
from tests.checks.changes import Change, having, on
from tests.checks.hgx import h100
from tests.checks.pair import two

ADDRESS = str(h100(2, 3).pci_address)


def logged(code: int, said: str = "", *, switch: bool = False) -> Change:
    return on("gpu02", xids=(Xid(code=code, pci_address=ADDRESS, at_s=7200.0, said=said, switch=switch),))


def risen(counter: str, by: int, *, grave: bool, on_gpu: int | None = 3) -> tuple[GpuRise, ...]:
    return (GpuRise(gpu=on_gpu, counter=counter, by=by, grave=grave),)


PAIRS = (
    two(
        "no_error_of_a_gpu_was_counted_under_load",
        on("gpu02", speed=having(rises=risen("recoveries of link 4", 3, grave=True))),
        "3 recoveries of link 4",
        given=on("*", speed=having(rises=risen("corrected memory errors", 9, grave=False))),
    ),
    two(
        "no_error_beside_its_gpus_was_counted_under_load",
        on("gpu02", speed=having(rises=risen("SXid 20034 in the kernel log", 1, grave=True, on_gpu=None))),
        "1 SXid 20034 in the kernel log",
        given=on("*", speed=having(rises=risen("SXid 22013 in the kernel log", 1, grave=False, on_gpu=None))),
    ),
    two(
        "no_gpu_fell_off_the_bus_since_the_start",
        logged(79, "pid=812, GPU has fallen off the bus."),
        "Xid 79 (the GPU has fallen off the bus) on gpu:3, 120 min",
    ),
    two(
        "no_gpu_fell_off_the_bus_since_the_start",
        on("gpu02", gpus=Missing("no library"), xids=(Xid(code=79, pci_address=ADDRESS),)),
        f"on {ADDRESS}",
    ),
    two("no_memory_error_of_a_gpu_was_logged", logged(64, "Row remapping failure"), "Xid 64"),
    two("no_memory_error_of_a_gpu_was_logged", logged(94, "Contained: CE User Channel"), "Xid 94 (a memory error that"),
    two("no_memory_error_of_a_gpu_was_logged", logged(140, "An uncorrectable ECC error"), "Xid 140 (a memory error"),
    two("no_hardware_error_of_a_gpu_was_logged", logged(119, "Timeout after 6s"), "Xid 119"),
    two(
        "no_hardware_error_of_a_gpu_was_logged",
        logged(20034, "Fatal, Link 30 LTSSM fault", switch=True),
        "SXid 20034 (Fatal, Link 30 LTSSM fault)",
    ),
    two("no_other_error_of_a_gpu_was_logged", logged(31, "MMU fault"), "touched memory that is not its own"),
    two("no_other_error_of_a_gpu_was_logged", logged(999, "of a newer driver"), "Xid 999 (of a newer driver)"),
    two(
        "no_other_error_of_a_gpu_was_logged",
        logged(79, "Non-fatal, an error of another numbering", switch=True),
        "SXid 79 (Non-fatal",
    ),
)
