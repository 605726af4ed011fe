"""What does hy-smi say of Hygon DCUs (HCUs)?

Keys are those of captured JSON of DTK 24.04 and 26.04 in the tests of public exporters and of Hygon's own environment
check (BW and K100 cards); no whole session was seen. Its table of processes was seen without the card that each one
holds, so a card's processes are known only where there are none.
"""

from __future__ import annotations

import re
from typing import Any

from diag.facts.device import Between, Clocks, Gpu
from diag.facts.record import NotMeasured
from diag.probes.probe import gap, maybe
from diag.probes.vendors import cards
from diag.probes.vendors.cards import Card
from diag.probes.vendors.vendor import Found, Tool, figure, not_understood, pci_address, whole

TOOLS: tuple[Tool, ...] = (
    Tool(
        name="hy-smi",
        places=("/opt/hyhal/bin", "/usr/local/hyhal/bin", "/opt/dtk/bin"),
        libraries=("/opt/hyhal/lib",),
        commands={
            "memory": ("--showmeminfo", "vram", "--json"),
            "use": ("--showuse", "--json"),
            "place": ("--showproductname", "--showbus", "--json"),
            "identity": ("--showuniqueid", "--json"),
            "heat": ("--showtemp", "--json"),
            "power": ("--showpower", "--json"),
            "clocks": ("--showclocks", "--json"),
            "vbios": ("--showvbios", "--json"),
            "driver": ("--showdriverversion",),
            "table": (),
            "processes": ("--showpids",),
        },
    ),
)
READ = ("memory", "use", "place", "identity", "heat", "power", "clocks", "vbios")


def gpus(found: Found) -> tuple[Gpu, ...]:
    holders = maybe(lambda: cards.processes(found.text("processes")))
    driver = maybe(lambda: _driver(found.text("driver")))
    table = maybe(lambda: _table(found.text("table")))
    rows = sorted(cards.cards(found, *READ).items())
    return tuple(_gpu(index, card, holders, driver, table) for index, card in rows)


def between(found: Found) -> tuple[Between, ...]:
    raise NotMeasured(f"the topology that {found.tool or 'hy-smi'} prints was never seen")


def _gpu(index: int, card: Card, holders: Any, driver: Any, table: Any) -> Gpu:
    total = maybe(lambda: cards.memory_bytes(card, r"vram total memory \((\w+)\)", "total memory"))
    used = maybe(lambda: cards.memory_bytes(card, r"vram total used memory \((\w+)\)", "used memory"))
    return Gpu(
        index=index,
        name=_name(card),
        vendor="hygon",
        uuid=maybe(lambda: cards.value(card, r"unique id", "unique id")),
        pci_address=maybe(lambda: pci_address(cards.value(card, r"pci bus", "PCI address").partition(" ")[0])),
        total_bytes=total,
        used_bytes=used,
        free_bytes=total - used if isinstance(total, int) and isinstance(used, int) else used,
        reserved_bytes=None,
        driver=driver,
        vbios=maybe(lambda: cards.value(card, r"vbios version", "VBIOS")),
        compute_capability=gap("hy-smi does not say"),
        compute_mode=None,
        cuda_driver=None,
        fabric=None,
        mig=maybe(lambda: _divided(_cell(table, index, "Mode"))),
        persistence=None,
        health=None,
        utilisation=maybe(lambda: figure(cards.value(card, r"[dh]cu use \(%\)", "utilisation"), "use") / 100),
        processes=holders,
        temperature_c=maybe(
            lambda: whole(cards.value(card, r"temperature \(sensor junction\) \(c\)", "junction"), "junction")
        ),
        memory_temperature_c=maybe(
            lambda: whole(cards.value(card, r"temperature \(sensor mem\w*\) \(c\)", "memory"), "memory")
        ),
        power_w=maybe(lambda: figure(cards.value(card, r"average graphics package power \(w\)", "power"), "power")),
        power_cap_w=maybe(lambda: figure(_cell(table, index, "PwrCap"), "PwrCap")),
        clocks=_clocks(card),
    )


def _clocks(card: Card) -> Clocks:
    return Clocks(
        sm=maybe(lambda: cards.megahertz(card, r"sclk clock speed:?", "clock")),
        memory=maybe(lambda: cards.megahertz(card, r"mclk clock speed:?", "memory clock")),
        sm_max=gap("hy-smi is not asked for it"),
        memory_max=gap("hy-smi is not asked for it"),
    )


def _name(card: Card) -> str:
    try:
        return f"Hygon {cards.value(card, r'card (?:series|model)', 'name').removeprefix('Hygon ')}"
    except NotMeasured:
        return "Hygon DCU"


def _driver(printed: str) -> str:
    read = re.search(r"Driver Version:\s*(\S+)", printed, re.IGNORECASE)
    if read is None:
        raise NotMeasured("hy-smi names no driver version")
    return read[1]


def _table(printed: str) -> dict[int, dict[str, str]]:
    """``HCU  Temp  AvgPwr  Perf  PwrCap  VRAM%  HCU%  Mode``, and a row of as many words for each card."""
    lines = [line.split() for line in printed.splitlines()]
    top = next((at for at, words in enumerate(lines) if words[:1] in (["HCU"], ["DCU"])), None)
    if top is None:
        raise not_understood("hy-smi", printed)
    rows = (words for words in lines[top + 1 :] if words and words[0].isdecimal() and len(words) == len(lines[top]))
    return {int(words[0]): dict(zip(lines[top], words, strict=True)) for words in rows}


def _cell(table: Any, index: int, column: str) -> str:
    if not isinstance(table, dict):
        raise NotMeasured(table.why)
    if column not in table.get(index, {}):
        raise NotMeasured(f"hy-smi's table has no {column} of {index}")
    return str(table[index][column])


def _divided(mode: str) -> bool:
    """No other word than Normal was seen."""
    if mode != "Normal":
        raise not_understood("Mode of hy-smi's table", mode)
    return False
