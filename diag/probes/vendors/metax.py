"""What does mx-smi say of MetaX GPUs?

The layouts are those of real output of 2.1.6, 2.1.7, 2.1.12, 2.2.4, 2.2.6, 2.2.9 and 2.3.1: tables in the guides of
gpustack (issue 4832), ms-swift, PaddleX and MetaX's fork of rmm, ``topo`` in vLLM-metax (issue 142) and ms-swift,
``-L``, ``--count-ecc`` and ``--show-temperature`` in the node checks of baizeai/kcover. No real output was seen of a
GPU that is not available, of sGPU switched on, of ``--show-pcie``, ``--show-clock`` and ``--show-clk-tr``: nothing is
guessed from those. Memory is in MiB; what is free is what is not used. Utilisation is that of the moment.

torch counts these GPUs through torch.cuda, the fastest first; ``MACA_VISIBLE_DEVICES`` takes mx-smi's numbers and is an
order, too (MetaX's page on environment variables: MACA_DEVICE_ORDER, MACA_VISIBLE_DEVICES). Never run on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from diag.facts.device import UNSAID, Between, Ecc, Gpu, GpuProcess, Retired
from diag.facts.record import NotMeasured
from diag.probes.probe import gap, maybe
from diag.probes.vendors import matrix
from diag.probes.vendors.vendor import MIB, Found, Tool, figure, not_understood, pci_address, whole

TOOLS: tuple[Tool, ...] = (
    Tool(
        name="mx-smi",
        places=("/opt/mxdriver/bin", "/opt/maca/bin", "/usr/local/metax/mxdriver/bin"),
        libraries=("/opt/mxdriver/lib", "/opt/maca/lib"),
        commands={
            "table": (),
            "list": ("-L",),
            "topology with NICs": ("topo", "-n"),
            "topology": ("topo", "-m"),
            "ecc": ("--count-ecc",),
            "temperatures": ("--show-temperature",),
        },
    ),
)
CELLS = {
    "GPU NAME": r"(?P<index>\d+)\s+(?P<name>\S.*)",
    "GPU NAME Persistence-M": r"(?P<index>\d+)\s+(?P<name>\S.*?)\s+(?P<persistence>\S+)",
    "Board Name": r"\d+\s+(?P<name>\S.*)",
    "GPU Persist-M": r"(?P<index>\d+)\s+(?P<persistence>\S+)",
    "Bus-id": r"(?P<address>\S+)",
    "GPU-Util": r"(?P<utilisation>\S+)",
    "GPU-Util sGPU-M": r"(?P<utilisation>\S+)\s+(?P<sgpu>\S+)",
    "Temp Power": r"(?P<temperature>\S+)\s+(?P<power>\S+)",
    "Temp Pwr:Usage/Cap": r"(?P<temperature>\S+)\s+(?P<power>\S+)\s*/\s*(?P<cap>\S+)",
    "Temp Pwr:Usage/Cap Perf": r"(?P<temperature>\S+)\s+(?P<power>\S+)\s*/\s*(?P<cap>\S+)\s+\S+",
    "Pwr:Usage/Cap": r"(?P<power>\S+)\s*/\s*(?P<cap>\S+)",
    "Temp Perf": r"(?P<temperature>\S+)\s+\S+",
    "Memory-Usage": r"(?P<used>\S+?)\s*/\s*(?P<total>\d+)\s*MiB",
    "GPU-State": r"(?P<state>\S.*)",
    "": r"",
}
"""How a cell is read, by the words above it. Each version arranges its own; every arrangement is of these."""
WHOLE = {"Native": False, "Disabled": False, "Enabled": True}
"""sGPU-M -> whether the GPU is divided; drivers whose mx-smi has no such column know no sGPU."""
NAMES = re.compile(r"^(?:MetaX\s+)?(?:MX)?(?=[A-Z]\d)")
"""Older drivers write MXC500 for what newer ones call MetaX C500: one device, one name."""
HEALTHY = "Available"
LINKS = frozenset({"MX"})
NO_PROCESS = "no process found"
Row = Mapping[str, str]


def gpus(found: Found) -> tuple[Gpu, ...]:
    text = found.text("table")
    rows = tuple(_rows(text))
    attached = re.search(r"^Attached GPUs\s*:\s*(\d+)", text, re.MULTILINE)
    if not rows or (attached and int(attached[1]) != len(rows)):
        counted = f"{attached[1]} attached GPUs, {len(rows)} in its table" if attached else text
        raise not_understood("mx-smi", counted)
    listed = maybe(lambda: _listed(found.text("list")))
    holders = maybe(lambda: _processes(text))
    errors = maybe(lambda: _sections(found.text("ecc"), "--count-ecc"))
    sensors = maybe(lambda: _sections(found.text("temperatures"), "--show-temperature"))
    return tuple(_gpu(row, text, listed, holders, errors, sensors) for row in rows)


def between(found: Found) -> tuple[Between, ...]:
    """With NICs where this version knows ``topo -n``."""
    try:
        return matrix.between(found.text("topology with NICs"), "mx-smi topo -n", LINKS)
    except NotMeasured:
        return matrix.between(found.text("topology"), "mx-smi topo -m", LINKS)


def _gpu(row: Row, text: str, listed: Any, holders: Any, errors: Any, sensors: Any) -> Gpu:  # noqa: PLR0917
    index = int(_cell(row, "index"))
    used, total = maybe(lambda: _memory_bytes(row, "used")), maybe(lambda: _memory_bytes(row, "total"))
    return Gpu(
        index=index,
        name=NAMES.sub("MetaX ", _cell(row, "name").strip()),
        vendor="metax",
        uuid=maybe(lambda: _uuid(row, listed)),
        pci_address=maybe(lambda: pci_address(_cell(row, "address"))),
        total_bytes=total,
        used_bytes=used,
        free_bytes=maybe(lambda: _memory_bytes(row, "total") - _memory_bytes(row, "used")),
        reserved_bytes=None,
        driver=maybe(lambda: _version(text, "Kernel Mode Driver Version")),
        vbios=maybe(lambda: _version(text, "BIOS Version")),
        compute_capability=None,
        compute_mode=None,
        cuda_driver=None,
        fabric=None,
        mig=_divided(row),
        mig_instances=gap("mx-smi sgpu was never seen") if _divided(row) is True else (),
        persistence={"On": True, "Off": False}.get(row.get("persistence", ""), gap("mx-smi does not say")),
        health=maybe(lambda: _health(row, listed)),
        utilisation=maybe(lambda: figure(_cell(row, "utilisation"), "GPU-Util") / 100),
        processes=holders if not isinstance(holders, dict) else holders.get(index, ()),
        ecc=maybe(lambda: _ecc(_of(errors, index, "mx-smi --count-ecc"))),
        retired=maybe(lambda: _retired(_of(errors, index, "mx-smi --count-ecc"))),
        temperature_c=_temperature(row, sensors),
        power_w=maybe(lambda: figure(_cell(row, "power"), "power")),
        power_cap_w=maybe(lambda: figure(row["cap"], "power cap")) if "cap" in row else gap("mx-smi does not say"),
    )


def _rows(text: str) -> Iterator[Row]:
    """Two lines a GPU, after two lines that name the columns. Raises NotMeasured for a column that nobody knows."""
    head: list[list[str]] = []
    pending: list[list[str]] = []
    for line in text.partition("Process:")[0].splitlines():
        cells = [" ".join(cell.split()) for cell in line.strip().strip("|").split("|")]
        if line.startswith("|==="):
            head, pending = pending[-2:], []
            if len(head) != 2:  # noqa: PLR2004 - the two lines
                raise not_understood("the heading of mx-smi's table", text)
        elif line.startswith(("+-", "|-")):
            pending = [] if not head else pending
        elif line.startswith("|"):
            pending.append(cells)
        if head and len(pending) == 2:  # noqa: PLR2004 - the two lines
            yield {name: said for at in (0, 1) for name, said in _cells(head[at], pending[at])}
            pending = []


def _cells(head: list[str], cells: list[str]) -> Iterator[tuple[str, str]]:
    if len(head) != len(cells):
        raise not_understood("a row of mx-smi's table", " | ".join(cells))
    for words, cell in zip(head, cells, strict=True):
        if words not in CELLS:
            raise not_understood("a column of mx-smi's table", words)
        read = re.fullmatch(CELLS[words], cell)
        if read is None and cell:
            raise not_understood(f"{words} of mx-smi's table", cell)
        yield from (read.groupdict() if read else {}).items()


def _cell(row: Row, name: str) -> str:
    if name not in row:
        raise NotMeasured(f"mx-smi's table is empty where it tells the {name} of a GPU")
    return row[name]


def _memory_bytes(row: Row, name: str) -> int:
    return whole(_cell(row, name), f"{name} memory") * MIB


def _version(text: str, what: str) -> str:
    read = re.search(rf"{what}:\s*(\S+)", text)
    if read is None:
        raise NotMeasured(f"mx-smi names no {what}")
    return read[1]


def _divided(row: Row) -> Any:
    word = row.get("sgpu", "Disabled")
    return WHOLE.get(word, gap(f"sGPU-M: {word!r}"))


def _health(row: Row, listed: Any) -> str:
    said = row.get("state") or _of(listed, int(_cell(row, "index")), "mx-smi -L")["state"]
    return "ok" if said == HEALTHY else said


def _listed(text: str) -> dict[int, Row]:
    """``GPU#0    MXC500      0000:08:00.0   Available (UUID: GPU-…)``."""
    found = re.findall(r"^GPU#(\d+)\s+.+?\s+(\S+:\S+)\s+(\S.*?)\s*\(UUID: (\S+)\)", text, re.MULTILINE)
    if not found:
        raise not_understood("mx-smi -L", text)
    return {int(index): {"address": at, "state": state, "uuid": uuid} for index, at, state, uuid in found}


def _uuid(row: Row, listed: Any) -> str:
    """Of the line with the same number, if that speaks of the same device."""
    index, address = int(_cell(row, "index")), _cell(row, "address")
    line = _of(listed, index, "mx-smi -L")
    if pci_address(line["address"]) != pci_address(address):
        raise NotMeasured(f"mx-smi -L has GPU {index} at {line['address']}, its table at {address}")
    return line["uuid"]


def _processes(text: str) -> dict[int, tuple[GpuProcess, ...]]:
    """GPU -> its processes. ``|  0   15652   python   60032  |``: GPU, pid, name, MiB."""
    _, heading, below = text.partition("Process:")
    if not heading:
        raise NotMeasured("mx-smi printed no table of processes")
    found: dict[int, tuple[GpuProcess, ...]] = {}
    body = below.rpartition("|===")[2].splitlines()[1:]
    for line in (line.strip().strip("|").strip() for line in body if line.startswith("|")):
        if not line or line == NO_PROCESS:
            continue
        row = re.fullmatch(r"(\d+)\s+(\d+)\s+(.*?)\s*(\d+)", line)
        if row is None:
            raise not_understood("mx-smi's table of processes", line)
        held = GpuProcess(pid=int(row[2]), name=row[3] or None, used_bytes=int(row[4]) * MIB)
        found[int(row[1])] = (*found.get(int(row[1]), ()), held)
    return found


def _sections(text: str, what: str) -> dict[int, Row]:
    """``GPU#0 …``, below it headings and ``key : value``: GPU -> "heading: key" -> value."""
    found: dict[int, Row] = {}
    current: dict[str, str] = {}
    heading = ""
    for line in text.splitlines():
        device = re.match(r"GPU#(\d+)\s", line)
        key, colon, value = line.strip().partition(":")
        if device:
            found[int(device[1])] = current = {}
        elif found and colon:
            current[f"{heading}: {key.strip()}"] = value.strip()
        elif line.strip():
            heading = line.strip()
    if not found:
        raise not_understood(f"mx-smi {what}", text)
    return found


def _temperature(row: Row, sensors: Any) -> Any:
    """Of the table; else of the hottest spot, which a version may name only by its sensor."""
    try:
        return whole(_cell(row, "temperature"), "Temp")
    except NotMeasured as why:
        known = sensors.get(int(_cell(row, "index")), {}) if isinstance(sensors, dict) else {}
        hottest = [said for key, said in known.items() if key.startswith("Chip Temperature: hotspot")]
        return maybe(lambda: whole(hottest[0], "hotspot")) if hottest else gap(str(why))


def _ecc(counts: Row) -> Ecc:
    """Counted since the driver was loaded; it counts no uncorrected ones: their pages are retired."""
    uncounted = gap("mx-smi --count-ecc does not count them")
    return Ecc(
        enabled=None,
        volatile_corrected=maybe(lambda: _count(counts, "ECC Errors: SRAM Correctable")),
        volatile_uncorrected=None,
        aggregate_corrected=uncounted,
        aggregate_uncorrected=uncounted,
    )


def _retired(counts: Row) -> Retired:
    return Retired(
        kind="pages",
        corrected=gap("mx-smi --count-ecc does not count them"),
        uncorrected=_count(counts, "Retired Pages: Double Bit ECC"),
        pending=UNSAID,
    )


def _count(counts: Row, key: str) -> int:
    if key not in counts:
        raise NotMeasured(f"mx-smi --count-ecc names no {key}")
    return whole(counts[key], key)


def _of(known: Any, index: int, what: str) -> Row:
    if not isinstance(known, dict):
        raise NotMeasured(known.why)
    if index not in known:
        raise NotMeasured(f"{what} does not list GPU {index}")
    row: Row = known[index]
    return row
