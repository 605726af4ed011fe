"""What does rocm-smi say of AMD GPUs, where no amd-smi is there? And what does either call them?

Keys as in the tests of public monitors (ROCm 5 to 7, MI300X and Radeon). Its list of processes does not say which card
each of them holds, so a card's processes are known only where there are none.
"""

from __future__ import annotations

import re
from typing import Any

from diag.facts.device import Clocks, Gpu
from diag.facts.record import NotMeasured
from diag.probes.probe import gap, maybe
from diag.probes.vendors import cards
from diag.probes.vendors.cards import Card
from diag.probes.vendors.vendor import Found, Tool, figure, not_understood, pci_address, whole

PLACES = ("/opt/rocm/bin", "/usr/local/bin")
TOOL = Tool(
    name="rocm-smi",
    places=PLACES,
    commands={
        "memory": ("--showmeminfo", "vram", "--json"),
        "all": ("--showallinfo", "--json"),
        "processes": ("--showpids",),
    },
)
POWER = r"(?:average|current socket) graphics package power \(w\)"
INSTINCT = {"0x7408": "MI250X", "0x740c": "MI250X", "0x740f": "MI210", "0x74a0": "MI300A", "0x74a1": "MI300X",
            "0x74a2": "MI308X", "0x74a5": "MI325X", "0x75a0": "MI350X", "0x75a3": "MI355X"}  # fmt: skip
"""PCI device id -> name, from pci.ids; where driver and tool are too old to know it."""
UNDIVIDED = ("SPX", "N/A")


def gpus(found: Found) -> tuple[Gpu, ...]:
    holders = maybe(lambda: cards.processes(found.text("processes")))
    return tuple(_card(index, card, holders) for index, card in sorted(cards.cards(found, "memory", "all").items()))


def _card(index: int, card: Card, holders: Any) -> Gpu:
    def told(pattern: str, what: str) -> str:
        return cards.value(card, pattern, what)

    total = maybe(lambda: cards.memory_bytes(card, r"vram total memory \((\w+)\)", "total memory"))
    used = maybe(lambda: cards.memory_bytes(card, r"vram total used memory \((\w+)\)", "used memory"))
    return Gpu(
        index=index,
        name=named(str(_or(card, r"card series|card model|device name")), str(_or(card, r"gpu id|device id")).lower()),
        vendor="amd",
        uuid=maybe(lambda: told(r"unique id", "unique id")),
        serial=maybe(lambda: told(r"serial number", "serial number")),
        pci_address=maybe(lambda: pci_address(told(r"pci bus", "PCI address"))),
        total_bytes=total,
        used_bytes=used,
        free_bytes=total - used if isinstance(total, int) and isinstance(used, int) else used,
        reserved_bytes=None,
        vbios=maybe(lambda: told(r"vbios version", "VBIOS")),
        compute_capability=maybe(lambda: capability(told(r"gfx version", "GFX version"))),
        compute_mode=None,
        cuda_driver=None,
        fabric=None,
        mig=divided(_or(card, r"compute partition") or None),
        persistence=None,
        health=None,
        utilisation=maybe(lambda: figure(told(r"gpu use \(%\)", "utilisation"), "use") / 100),
        processes=holders,
        temperature_c=maybe(lambda: whole(told(r"temperature \(sensor junction\) \(c\)", "junction"), "junction")),
        memory_temperature_c=maybe(lambda: whole(told(r"temperature \(sensor memory\) \(c\)", "memory"), "memory")),
        power_w=maybe(
            lambda: figure(told(r"(?:average|current socket) graphics package power \(w\)", "power"), "power")
        ),
        power_cap_w=maybe(lambda: figure(told(r"max graphics package power \(w\)", "power cap"), "power cap")),
        clocks=_clocks(card),
    )


def _clocks(card: Card) -> Clocks:
    return Clocks(
        sm=maybe(lambda: cards.megahertz(card, r"sclk clock speed:?", "clock")),
        memory=maybe(lambda: cards.megahertz(card, r"mclk clock speed:?", "memory clock")),
        sm_max=gap("rocm-smi's JSON does not say"),
        memory_max=gap("rocm-smi's JSON does not say"),
    )


def _or(card: Card, pattern: str) -> str:
    try:
        return cards.value(card, pattern, pattern)
    except NotMeasured:
        return ""


def named(said: str, device: str) -> str:
    if not said or said.lower().startswith("0x"):
        known = INSTINCT.get(said.lower() or device) or INSTINCT.get(device)
        return f"AMD Instinct {known}" if known else "AMD GPU"
    return said if said.startswith("AMD") else f"AMD {said}"


def capability(graphics: str) -> str:
    """``gfx942`` -> ``9.4``, ``gfx90a`` -> ``9.0``, ``gfx1100`` -> ``11.0``: as torch has it."""
    read = re.match(r"gfx(\d+)([0-9a-f])[0-9a-f]\b", graphics)
    if read is None:
        raise not_understood("the graphics version", graphics)
    return f"{int(read[1])}.{int(read[2], 16)}"


def divided(partition: Any) -> Any:
    """Partitions other than SPX make several devices of one; where none is told, the device knows none."""
    return isinstance(partition, str) and partition not in UNDIVIDED
