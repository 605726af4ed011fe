"""How sound is each GPU: memory errors, repairs, heat, power, clocks, its PCIe link? Asked of NVML by ``nvml``."""

from __future__ import annotations

import functools

from nvml_identity import has

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Callable

CORRECTED, UNCORRECTED, VOLATILE, AGGREGATE = 0, 1, 0, 1
COUNTS = {
    "volatile_corrected": (CORRECTED, VOLATILE),
    "volatile_uncorrected": (UNCORRECTED, VOLATILE),
    "aggregate_corrected": (CORRECTED, AGGREGATE),
    "aggregate_uncorrected": (UNCORRECTED, AGGREGATE),
}
SINGLE_BIT, DOUBLE_BIT = 0, 1
DIE, SLOWDOWN = 0, 1
SM_CLOCK, MEMORY_CLOCK = 1, 2
MILLI = 1000


def several(nv: Any, reads: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Each value, or ``[NVML's words]`` in its place: a record's fields fail one by one."""
    row: dict[str, Any] = {}
    for field, read in reads.items():
        try:
            row[field] = has(nv, read)
        except nv.NVMLError as error:
            row[field] = [f"NVML: {error}"]
    return row


def _ecc(nv: Any, handle: Any) -> dict[str, Any] | None:
    modes = has(nv, lambda: nv.nvmlDeviceGetEccMode(handle))
    if modes is None:
        return None
    counts = {field: functools.partial(_count, nv, handle, kind, on=bool(modes[0])) for field, kind in COUNTS.items()}
    return {"enabled": bool(modes[0]), "pending": bool(modes[1]), **several(nv, counts)}


def _count(nv: Any, handle: Any, kind: tuple[int, int], *, on: bool) -> Any:
    return nv.nvmlDeviceGetTotalEccErrors(handle, *kind) if on else None


def _retired(nv: Any, handle: Any) -> dict[str, Any] | None:
    """Rows where the device remaps them (Ampere and later), else pages; None: it does neither."""
    try:
        rows = has(nv, lambda: nv.nvmlDeviceGetRemappedRows(handle))
    except nv.NVMLError_FunctionNotFound:
        rows = None
    if rows is not None:
        names = ("corrected", "uncorrected", "pending", "failed")
        return {"kind": "rows", **dict(zip(names, (rows[0], rows[1], bool(rows[2]), bool(rows[3]))))}
    pages = has(nv, lambda: nv.nvmlDeviceGetRetiredPages(handle, SINGLE_BIT))
    if pages is None:
        return None
    return {
        "kind": "pages",
        "corrected": len(pages),
        "uncorrected": len(nv.nvmlDeviceGetRetiredPages(handle, DOUBLE_BIT)),
        "pending": bool(nv.nvmlDeviceGetRetiredPagesPendingStatus(handle)),
        "failed": None,
    }


def _temperature(nv: Any, handle: Any) -> int:
    try:
        return int(nv.nvmlDeviceGetTemperature(handle, DIE))
    except nv.NVMLError_FunctionNotFound:
        return int(nv.nvmlDeviceGetTemperatureV(handle, DIE))


def _slowdown(nv: Any, handle: Any) -> int | None:
    """Of what says only how far it is, where that would be now: it moves with the part that is nearest to its limit."""
    try:
        return int(nv.nvmlDeviceGetTemperatureThreshold(handle, SLOWDOWN))
    except nv.NVMLError_NotSupported:
        left = margin(nv, handle)
        return None if left is None else _temperature(nv, handle) + left


def margin(nv: Any, handle: Any) -> int | None:
    """How far it is to where it slows itself down, of newer devices, which do not say where that is; None: others."""
    try:
        nv.nvmlDeviceGetTemperatureThreshold(handle, SLOWDOWN)
    except nv.NVMLError_NotSupported:
        left = has(nv, lambda: nv.nvmlDeviceGetMarginTemperature(handle))
        return None if left is None else int(left)
    return None


def _memory_temperature(nv: Any, handle: Any) -> int | None:
    (value,) = nv.nvmlDeviceGetFieldValues(handle, [nv.NVML_FI_DEV_MEMORY_TEMP])
    if value.nvmlReturn == nv.NVML_ERROR_NOT_SUPPORTED:
        return None
    if value.nvmlReturn != nv.NVML_SUCCESS:
        raise nv.NVMLError(value.nvmlReturn)
    return value.value.uiVal or None  # 0: this board has no such sensor


def _watts(name: str) -> Callable[[Any, Any], Any]:
    def read(nv: Any, handle: Any) -> float | None:
        milliwatts = has(nv, lambda: getattr(nv, name)(handle))
        return None if milliwatts is None else milliwatts / MILLI

    return read


def _clocks(nv: Any, handle: Any) -> dict[str, Any]:
    reads = {
        "sm": lambda: nv.nvmlDeviceGetClockInfo(handle, SM_CLOCK),
        "sm_max": lambda: nv.nvmlDeviceGetMaxClockInfo(handle, SM_CLOCK),
        "memory": lambda: nv.nvmlDeviceGetClockInfo(handle, MEMORY_CLOCK),
        "memory_max": lambda: nv.nvmlDeviceGetMaxClockInfo(handle, MEMORY_CLOCK),
    }
    return several(nv, reads)


def _throttle(nv: Any, handle: Any) -> int:
    """The bits of why its clocks are lower than they could be; drivers before 535 know the older name only."""
    try:
        return int(nv.nvmlDeviceGetCurrentClocksEventReasons(handle))
    except nv.NVMLError_FunctionNotFound:
        return int(nv.nvmlDeviceGetCurrentClocksThrottleReasons(handle))


def _pcie(nv: Any, handle: Any) -> dict[str, Any] | None:
    generation = has(nv, lambda: nv.nvmlDeviceGetCurrPcieLinkGeneration(handle))
    if generation is None:
        return None
    reads = {
        "generation_max": lambda: nv.nvmlDeviceGetMaxPcieLinkGeneration(handle),
        "width_max": lambda: nv.nvmlDeviceGetMaxPcieLinkWidth(handle),
        "device_generation_max": lambda: nv.nvmlDeviceGetGpuMaxPcieLinkGeneration(handle),
        "replays": lambda: nv.nvmlDeviceGetPcieReplayCounter(handle),
    }
    return {"generation": generation, "width": nv.nvmlDeviceGetCurrPcieLinkWidth(handle), **several(nv, reads)}


READS: dict[str, Callable[[Any, Any], Any]] = {
    "ecc": _ecc,
    "retired": _retired,
    "temperature_c": lambda nv, handle: has(nv, lambda: _temperature(nv, handle)),
    "memory_temperature_c": lambda nv, handle: has(nv, lambda: _memory_temperature(nv, handle)),
    "slowdown_c": _slowdown,
    "power_w": _watts("nvmlDeviceGetPowerUsage"),
    "power_cap_w": _watts("nvmlDeviceGetEnforcedPowerLimit"),
    "power_default_w": _watts("nvmlDeviceGetPowerManagementDefaultLimit"),
    "clocks": _clocks,
    "throttle": lambda nv, handle: has(nv, lambda: _throttle(nv, handle)),
    "pcie": _pcie,
}
