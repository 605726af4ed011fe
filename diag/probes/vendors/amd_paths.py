"""Where do the versions of amd-smi keep what is wanted, and what stands there?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diag.facts.record import NotMeasured
from diag.probes.vendors.vendor import MIB, figure

Row = Mapping[str, Any]
PATHS = {
    "name": ("static asic market_name",),
    "device": ("static asic device_id",),
    "serial": ("static asic asic_serial",),
    "graphics": ("static asic target_graphics_version",),
    "address": ("list bdf", "static bus bdf"),
    "uuid": ("list uuid",),
    "total": ("metric mem_usage total_vram", "static vram size", "static vram vram_size", "static vram vram_size_mb"),
    "used": ("metric mem_usage used_vram",),
    "free": ("metric mem_usage free_vram",),
    "driver": ("static driver version", "static driver driver_version"),
    "vbios": ("static vbios version", "static ifwi version"),
    "partition": ("static partition accelerator_partition", "static partition compute_partition"),
    "use": ("metric usage gfx_activity", "metric usage gfx_usage"),
    "hotspot": ("metric temperature hotspot", "metric temperature edge"),
    "memory heat": ("metric temperature mem",),
    "slowdown": ("static limit slowdown_hotspot_temperature", "static limit slowdown_edge_temperature"),
    "power": ("metric power socket_power", "metric power current_power"),
    "cap": ("static limit socket_power", "static limit current_power"),
    "clock": ("metric clock gfx_0 clk", "metric clock gfx cur_clk"),
    "clock max": ("metric clock gfx_0 max_clk", "metric clock gfx max_clk"),
    "memory clock": ("metric clock mem_0 clk", "metric clock MEM cur_clk"),
    "memory clock max": ("metric clock mem_0 max_clk", "metric clock MEM max_clk"),
    "corrected": ("metric ecc total_correctable_count", "metric ecc total_correctable"),
    "uncorrected": ("metric ecc total_uncorrectable_count", "metric ecc total_uncorrectable"),
    "blocks": ("static ras ecc_block_state",),
    "throttle": ("metric throttle",),
    "throttled": ("metric power throttle_status",),
}
"""What is wanted -> where the versions of amd-smi keep it, the newest first."""


def at(row: Row, what: str) -> Any:
    """The value in the first place that holds one. Raises NotMeasured."""
    for path in PATHS[what]:
        here: Any = row
        for key in path.split():
            here = here.get(key) if isinstance(here, dict) else None
        here = here.get("value") if isinstance(here, dict) and "value" in here else here
        if here not in (None, "N/A", ""):
            return here
    raise NotMeasured(f"amd-smi does not say {what}")


def number(row: Row, what: str) -> float:
    return figure(at(row, what), what)


def whole(row: Row, what: str) -> int:
    return round(number(row, what))


def size_bytes(row: Row, what: str) -> int:
    return whole(row, what) * MIB
