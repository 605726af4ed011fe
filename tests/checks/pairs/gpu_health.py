"""Changes that make the checks of checks/gpu_health.py fail."""

from __future__ import annotations

from typing import Any

from diag.facts.device import Xid
from diag.facts.record import Missing
from diag.facts.speed import GpuRise
from tests.checks.changes import Change, having, item, on
from tests.checks.hgx import h100
from tests.checks.pair import two

ADDRESS = str(h100(2, 3).pci_address)


def gpu(**fields: Any) -> Change:
    """Of GPU 3 of the second node."""
    return on("gpu02", gpus=item(3, having(**fields)))


def every_gpu(**fields: Any) -> Change:
    return on("gpu02", gpus=item(lambda _: True, having(**fields)))


def logged(code: int, said: str = "", *, switch: bool = False) -> Change:
    return on("gpu02", xids=(Xid(code=code, pci_address=ADDRESS, at_s=7200.0, said=said, switch=switch),))


def risen(counter: str, by: int, *, grave: bool) -> tuple[GpuRise, ...]:
    return (GpuRise(gpu=3, counter=counter, by=by, grave=grave),)


PAIRS = (
    two(
        "no_error_of_a_gpu_was_counted_under_load",
        on("gpu02", speed=having(rises=risen("recoveries of link 4", 3, grave=True))),
        "3 recoveries of link 4",
        given=on("*", speed=having(rises=risen("corrected memory errors", 9, grave=False))),
    ),
    two(
        "gpu_is_well_as_its_vendor_says",
        gpu(health="Not OK: voltage"),
        "Not OK: voltage",
        given=on("*", gpus=item(lambda _: True, having(health="ok"))),
    ),
    two(
        "gpu_has_no_uncorrected_memory_errors",
        gpu(ecc=having(volatile_uncorrected=2)),
        "2 uncorrected errors",
    ),
    two("ecc_mode_is_the_same_on_its_gpus", gpu(ecc=having(enabled=False, pending=False)), "off on gpu:3 only"),
    two("ecc_mode_is_the_same_on_all_nodes", every_gpu(ecc=having(enabled=False, pending=False)), "ECC off"),
    two("no_change_of_ecc_is_pending", gpu(ecc=having(pending=False)), "gpu:3: ECC is on and will be off"),
    two("no_memory_waits_to_be_taken_out_of_use", gpu(retired=having(pending=True)), "rows of memory wait"),
    two(
        "no_memory_waits_to_be_taken_out_of_use",
        gpu(retired=having(kind="pages", pending=True, failed=None)),
        "pages of memory wait",
    ),
    two("faulty_memory_could_be_taken_out_of_use", gpu(retired=having(failed=True)), "could not be remapped"),
    two("gpu_is_cooler_than_where_it_slows_down", gpu(temperature_c=88), "88 °C"),
    two(
        "gpu_is_not_slowed_down_by_its_board",
        gpu(throttled_by=("hw_slowdown", "hw_power_brake")),
        "cut by hw_slowdown, hw_power_brake",
    ),
    two("gpus_are_not_slowed_down_by_their_driver", gpu(throttled_by=("sw_power_cap",)), "gpu:3: sw_power_cap"),
    two("power_caps_are_the_default", gpu(power_cap_w=350.0), "gpu:3: a cap of 350.0 W"),
    two(
        "clock_limits_are_the_same_on_all_nodes",
        every_gpu(clocks=having(sm_max=1755)),
        "1755 and 2619 MHz",
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
