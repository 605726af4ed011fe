"""What did a GPU say of its clocks, its heat and its link while it worked, in words?"""

from __future__ import annotations

from diag.facts.device import Gpu
from diag.facts.node import Node
from diag.facts.record import is_known
from diag.facts.speed import Load

HARDWARE = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake")
"""The board cuts the clocks: too hot, or too little power."""
SLOWED = (*HARDWARE, "sw_thermal_slowdown")
"""What is no everyday thing under load; a power cap is, with products that use all of the chip."""
SHARE, FEWEST = 0.2, 2
"""Of the looks, and at least so many where there were as many: one look may fall on a spike."""


def seen(node: Node, gpu: Gpu, during: str) -> list[Load]:
    """While measurements ran whose name begins so; none where nobody looked."""
    rows = node.speed.loads if is_known(node, "speed") and is_known(node.speed, "loads") else ()
    return [row for row in rows if row.gpu == gpu.index and row.during.startswith(during)]


def slowed_by(row: Load) -> tuple[str, ...]:
    """What cut its clocks, that is a fault."""
    fewest = max(SHARE * row.told, min(FEWEST, row.told))
    return tuple(reason for reason, looks in row.slowed_by if reason in SLOWED and looks >= fewest)


def cut_by(node: Node, gpu: Gpu, during: str) -> str:
    """What cut its clocks while measurements of that name ran; empty: nothing, as far as anybody looked."""
    return ", ".join(dict.fromkeys(reason for row in seen(node, gpu, during) for reason in slowed_by(row)))


def clocks_of(node: Node, gpu: Gpu, during: str) -> str:
    """Of the measurement of that name whose clocks were cut most, as ``clocks_told``; empty: nobody looked."""
    rows = [row for row in seen(node, gpu, during) if row.sm_mhz is not None]
    return clocks_told(min(rows, key=lambda row: (not slowed_by(row), row.sm_mhz)), gpu) if rows else ""


def clocks_told(row: Load, gpu: Gpu) -> str:
    """``at 1,305 of 1,980 MHz, 91 °C, slowed by hw_thermal_slowdown``; empty: it was not seen busy."""
    if row.sm_mhz is None:
        return ""
    most = gpu.clocks.sm_max if is_known(gpu, "clocks") and is_known(gpu.clocks, "sm_max") else None
    words = [f"at {row.sm_mhz:,}{f' of {most:,}' if most else ''} MHz"]
    words += [f"{row.temperature_c} °C"] * (row.temperature_c is not None)
    words += [f"slowed by {', '.join(reason for reason, _ in row.slowed_by)}"] * bool(row.slowed_by)
    return ", ".join(words)


def link_told(node: Node, gpu: Gpu) -> str:
    """``its link at PCIe 3 x8 while copies ran``; empty: nobody looked."""
    rows = [row for row in seen(node, gpu, "host copies") if row.pcie_width and row.pcie_generation]
    if not rows:
        return ""
    generation = max(row.pcie_generation or 0 for row in rows)
    return f"its link at PCIe {generation} x{max(row.pcie_width or 0 for row in rows)} while copies ran"
