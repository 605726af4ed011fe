"""What does npu-smi say of Ascend NPUs?

The table is read as real output of 23.0 to 26.0 shows it (910A, 910ProB, 910B2 to 910B4 and the dual-chip Ascend910 of
A3; issues of vllm-ascend and HAMi-WebUI, guides with 910B), its processes too; ``-t ecc`` as the source of Huawei's own
npu-smi and its documentation print it, ``-t topo`` as a swift guide shows it of 8 × 910B3. 310P (whose memory stands in
the other column) from documentation only. One record a chip; memory of HBM where there is any, in MiB. What no process
holds is in use all the same: about 3 GiB of an idle 910B. A chip's index is its physical id where the table names it,
else its place: the logical id that torch_npu counts by.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from diag.facts.device import UNSAID, Between, Ecc, Gpu, GpuProcess, Retired
from diag.facts.record import Missing, NotMeasured
from diag.probes.probe import maybe
from diag.probes.vendors import matrix
from diag.probes.vendors.vendor import MIB, Found, Tool, figure, not_understood, pci_address, whole

DRIVER = "/usr/local/Ascend/driver/lib64"
TOOLS: tuple[Tool, ...] = (
    Tool(
        name="npu-smi",
        places=("/usr/local/bin", "/usr/local/sbin", "/usr/local/Ascend/driver/tools"),
        libraries=(f"{DRIVER}/driver", f"{DRIVER}/common", DRIVER),
        ids=r"^\|\s*(\d+)\s+\S*[A-Za-z]\S*\s+\|[^|\n]*\|",
        commands={
            "table": ("info",),
            "topology": ("info", "-t", "topo"),
            "ecc {id}": ("info", "-t", "ecc", "-i", "{id}"),
        },
    ),
)
FIRST = re.compile(r"\|\s*(\d+)\s+(\S*[A-Za-z]\S*)\s*\|\s*([^|]*?)\s*\|\s*(\S+)\s+(?!/\s)(\S+)\s")
"""NPU, name, health, power, temperature."""
SECOND = re.compile(
    r"\|\s*(\d+)(?:\s+(\d+))?\s*\|\s*([0-9A-Fa-fx:.]+|NA)\s*\|"
    r"\s*(\S+)\s+(\d+)\s*/\s*(\d+)(?:\s+(\d+)\s*/\s*(\d+))?\s*\|"
)
"""Chip, physical id, address, AICore, memory used and total, HBM used and total."""
HELD = re.compile(r"\|\s*(\d+)\s+(\d+)\s*\|\s*(\d+)\s*\|\s*(.*?)\s*\|\s*(\d+)\s*\|")
"""NPU, chip, pid, name (often empty), MB."""
LINKS = frozenset({"HCCS", "SIO", "HCCS_SW"})
HEALTHY = "OK"
COMING = "Double Bit Next-Isolated Pages Count"
NO_HEALTH = ("", "-", "--", "NA", "N/A")
"""For a health that the tool itself does not know."""


class _Chip(msgspec.Struct, frozen=True, kw_only=True):
    npu: int
    chip: int
    index: int
    name: str
    health: str
    power: str
    temperature: str
    address: str
    busy: str
    used: int
    total: int


def gpus(found: Found) -> tuple[Gpu, ...]:
    text = found.text("table")
    chips = tuple(_chips(text))
    if not chips:
        raise not_understood("npu-smi info", text)
    driver = maybe(lambda: _version(text))
    holders = maybe(lambda: _processes(text))
    return tuple(_gpu(chip, driver, holders, found) for chip in chips)


def between(found: Found) -> tuple[Between, ...]:
    return matrix.between(found.text("topology"), "npu-smi info -t topo", LINKS)


def _chips(text: str) -> Iterator[_Chip]:
    first: re.Match[str] | None = None
    place = 0
    for line in _body(text):
        chip = SECOND.match(line)
        if first is None:
            first = FIRST.match(line)
            if first is None:
                raise not_understood("the first line of a chip in npu-smi info", line)
        elif chip and int(chip[6]) + int(chip[8] or 0):
            used, total = (chip[7], chip[8]) if chip[8] and int(chip[8]) else (chip[5], chip[6])
            yield _Chip(
                npu=int(first[1]), chip=int(chip[1]), index=int(chip[2]) if chip[2] else place, name=first[2],
                health=first[3], power=first[4], temperature=first[5], address=chip[3], busy=chip[4],
                used=int(used) * MIB, total=int(total) * MIB,
            )  # fmt: skip
            first, place = None, place + 1
        else:
            raise not_understood("the second line of a chip in npu-smi info", line)
    if first:
        raise not_understood("npu-smi info, which ends within a chip,", first[0])


def _body(text: str) -> list[str]:
    """The lines of all chips: those of the first table below its heading."""
    chips = re.split(r"^.*Process id", text, maxsplit=1, flags=re.MULTILINE)[0]
    below = re.split(r"^\|\s*Chip\b.*$", chips, maxsplit=1, flags=re.MULTILINE)[-1]
    return [line for line in below.splitlines() if line.startswith("|")]


def _health(said: str) -> str:
    if said in NO_HEALTH:
        raise NotMeasured(f"npu-smi info tells no health: {said!r}")
    return "ok" if said == HEALTHY else said


def _gpu(chip: _Chip, driver: Any, holders: Any, found: Found) -> Gpu:
    counts = maybe(lambda: _counts(found.text(f"ecc {chip.npu}"), chip.chip))
    return Gpu(
        index=chip.index,
        name=chip.name if chip.name.startswith("Ascend") else f"Ascend {chip.name}",
        vendor="ascend",
        pci_address=maybe(lambda: pci_address(chip.address)),
        total_bytes=chip.total,
        used_bytes=chip.used,
        free_bytes=chip.total - chip.used,
        reserved_bytes=None,
        driver=driver,
        compute_capability=None,
        compute_mode=None,
        cuda_driver=None,
        fabric=None,
        mig=False,
        mig_instances=(),
        persistence=None,
        health=maybe(lambda: _health(chip.health)),
        utilisation=maybe(lambda: figure(chip.busy, "AICore") / 100),
        processes=holders if not isinstance(holders, dict) else holders.get((chip.npu, chip.chip), ()),
        ecc=maybe(lambda: _ecc(counts)),
        retired=maybe(lambda: _retired(counts)),
        temperature_c=maybe(lambda: whole(chip.temperature, "Temp(C)")),
        power_w=maybe(lambda: figure(chip.power, "Power(W), which the first chip of an NPU tells")),
    )


def _version(text: str) -> str:
    read = re.search(r"\bVersion:\s*(\S+)", text)
    if read is None:
        raise NotMeasured("npu-smi info names no version")
    return read[1]


def _processes(text: str) -> dict[tuple[int, int], tuple[GpuProcess, ...]]:
    """(NPU, chip) -> its processes."""
    _, heading, below = text.partition("Process id")
    if not heading:
        raise NotMeasured("npu-smi info printed no table of processes")
    found: dict[tuple[int, int], tuple[GpuProcess, ...]] = {}
    for line in below.splitlines()[1:]:
        held = HELD.match(line)
        if held:
            process = GpuProcess(pid=int(held[3]), name=held[4] or None, used_bytes=int(held[5]) * MIB)
            key = (int(held[1]), int(held[2]))
            found[key] = (*found.get(key, ()), process)
        elif line.startswith("|") and "No running processes found" not in line:
            raise not_understood("npu-smi's table of processes", line)
    return found


def _counts(text: str, chip: int) -> Mapping[str, int]:
    """The counters of one chip: those before the line with its id, where there are such lines."""
    counts: dict[str, int] = {}
    chips: dict[int, Mapping[str, int]] = {}
    for line in text.splitlines():
        key, colon, said = (part.strip() for part in line.partition(":"))
        if key == "Chip ID":
            chips[whole(said, key)], counts = counts, {}
        elif colon and key.startswith(("HBM", "DDR")):
            counts[key] = whole(said, key)
    known = chips.get(chip, {}) if chips else counts
    if not known:
        raise not_understood(f"npu-smi info -t ecc, chip {chip},", text)
    return known


def _sum(counts: Any, what: str) -> int:
    """Of HBM and DDR."""
    if not isinstance(counts, dict):
        raise NotMeasured(counts.why)
    found = [count for key, count in counts.items() if key.partition(" ")[2] == what]
    if not found:
        raise NotMeasured(f"npu-smi info -t ecc names no {what}")
    return sum(found)


def _ecc(counts: Any) -> Ecc:
    corrected = _sum(counts, "Single Bit Error Count")
    return Ecc(
        enabled=None,
        volatile_corrected=corrected,
        volatile_uncorrected=maybe(lambda: _sum(counts, "Double Bit Error Count")),
        aggregate_corrected=maybe(lambda: _sum(counts, "Single Bit Aggregate Total Err Cnt")),
        aggregate_uncorrected=maybe(lambda: _sum(counts, "Double Bit Aggregate Total Err Cnt")),
    )


def _retired(counts: Any) -> Retired:
    """Pages to come ("next-isolated") are taken out at the next start; older versions do not name them."""
    coming = maybe(lambda: _sum(counts, COMING) > 0)
    return Retired(
        kind="pages",
        corrected=maybe(lambda: _sum(counts, "Single Bit Isolated Pages Count")),
        uncorrected=_sum(counts, "Double Bit Isolated Pages Count"),
        pending=UNSAID if isinstance(coming, Missing) else coming,
    )
