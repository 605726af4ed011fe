"""What do GPUs say of themselves while something is measured on them? Looks of ``heat``, added up by child.

Clocks, power and what holds them back count only where NVML says that kernels kept the GPU busy: a process that still
makes its context shows the clocks of an idle one. The PCIe link trains up for any copy, so its best look counts.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable

BUSY_PERCENT = 90


def reads() -> dict[str, Callable[[Any, Any], Any]]:
    """What is asked beside temperature and processes."""
    import nvml_health

    return {
        "busy": lambda nv, handle: nv.nvmlDeviceGetUtilizationRates(handle).gpu >= BUSY_PERCENT,
        "sm_mhz": lambda nv, handle: nv.nvmlDeviceGetClockInfo(handle, nvml_health.SM_CLOCK),
        "throttle": nvml_health.READS["throttle"],
        "power_w": nvml_health.READS["power_w"],
        "generation": lambda nv, handle: nv.nvmlDeviceGetCurrPcieLinkGeneration(handle),
        "width": lambda nv, handle: nv.nvmlDeviceGetCurrPcieLinkWidth(handle),
    }


class Loads:
    def __init__(self) -> None:
        self._found: dict[int, dict[str, dict[str, Any]]] = {}

    def look(self, rows: Iterable[dict[str, Any]], running: Iterable[tuple[int, Iterable[str]]]) -> None:
        """``running``: each child's number and the UUIDs of its GPUs."""
        by_uuid = {row.get("uuid"): row for row in rows}
        for child, uuids in running:
            for uuid in uuids:
                if uuid in by_uuid:
                    _add(self._found.setdefault(child, {}).setdefault(uuid, _nothing()), by_uuid[uuid])

    def of(self, child: int) -> list[dict[str, Any]]:
        """Of each of its GPUs, in a short line; it is forgotten then."""
        return [{"uuid": uuid, **_short(found)} for uuid, found in self._found.pop(child, {}).items()]


def _nothing() -> dict[str, Any]:
    return {
        "looks": 0, "busy": 0, "told": 0, "sm_mhz": [], "reasons": {}, "power_w": None, "temperature_c": None,
        "generation": None, "width": None,
    }  # fmt: skip


def _add(found: dict[str, Any], row: dict[str, Any]) -> None:
    found["looks"] += 1
    most = ["temperature_c", "generation", "width"]
    if row.get("busy"):
        found["busy"] += 1
        most.append("power_w")
        found["sm_mhz"] += [row["sm_mhz"]] if row.get("sm_mhz") is not None else []
        if row.get("throttle") is not None:
            found["told"] += 1
            bits = str(row["throttle"])
            found["reasons"][bits] = found["reasons"].get(bits, 0) + 1
    for name in most:
        told = [value for value in (found[name], row.get(name)) if value is not None]
        found[name] = max(told) if told else None


def _short(found: dict[str, Any]) -> dict[str, Any]:
    """With the clock in the middle: all of them, of a long burn, are more than a pipe takes in one piece."""
    clocks = sorted(found["sm_mhz"])
    return {**found, "sm_mhz": clocks[len(clocks) // 2] if clocks else None}
