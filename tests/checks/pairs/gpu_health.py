"""Changes that make the checks of checks/gpu_health.py fail."""

from __future__ import annotations

from typing import Any

from tests.checks.changes import Change, having, item, on
from tests.checks.pair import two


def gpu(**fields: Any) -> Change:
    """Of GPU 3 of the second node."""
    return on("gpu02", gpus=item(3, having(**fields)))


def every_gpu(**fields: Any) -> Change:
    return on("gpu02", gpus=item(lambda _: True, having(**fields)))


def hot(**fields: Any) -> Change:
    """Of GPU 3 of the second node, while it multiplies."""
    return on(
        "gpu02", speed=having(loads=item(lambda row: (row.gpu, row.during) == (3, "gemm bf16"), having(**fields)))
    )


PAIRS = (
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
    two(
        "faulty_memory_could_be_taken_out_of_use",
        gpu(retired=having(uncorrected=600)),
        "600 rows remapped after uncorrected errors",
    ),
    two("faulty_memory_could_be_taken_out_of_use", gpu(retired=having(failed=True)), "could not be remapped"),
    two("gpu_is_cooler_than_where_it_slows_down", gpu(temperature_c=88), "88 °C"),
    two(
        "gpu_is_not_slowed_down_by_its_board",
        gpu(throttled_by=("hw_slowdown", "hw_power_brake")),
        "cut by hw_slowdown, hw_power_brake",
    ),
    two(
        "faulty_memory_could_be_taken_out_of_use",
        gpu(retired=having(kind="pages", failed=True)),
        "a page could not be reserved",
    ),
    two(
        "gpu_is_not_slowed_down_under_load",
        hot(sm_mhz=1305, temperature_c=91, slowed_by=(("sw_power_cap", 8), ("hw_thermal_slowdown", 6))),
        "in gemm bf16 at 1,305 of 1,980 MHz, 91 °C, slowed by sw_power_cap, hw_thermal_slowdown",
        given=on("*", speed=having(loads=item(3, having(slowed_by=(("hw_power_brake", 1), ("sw_power_cap", 8)))))),
    ),
    two("gpus_are_not_slowed_down_by_their_driver", gpu(throttled_by=("sw_power_cap",)), "gpu:3: sw_power_cap"),
    two("power_caps_are_the_default", gpu(power_cap_w=350.0), "gpu:3: a cap of 350.0 W"),
    two(
        "clock_limits_are_the_same_on_all_nodes",
        every_gpu(clocks=having(sm_max=1755)),
        "1755 and 2619 MHz",
    ),
)
