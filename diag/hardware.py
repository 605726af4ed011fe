"""What is known of devices by name: their memory, compute capability and links. Data, each row with its source."""

from __future__ import annotations

import re
from functools import cache

import msgspec

from diag.units import GIB, MIB

DECLARED = "declared"
"""Run id and reach outcome of a Snapshot that somebody wrote down instead of measuring."""


class DeviceRow(msgspec.Struct, frozen=True, kw_only=True):
    """Memory of one device. Programs see less of it than the driver reports, which keeps a reserve of its own."""

    name: str
    vendor: str
    total_bytes: int
    """As the driver reports it."""
    visible_bytes: int
    """What programs are told is the total (``cudaMemGetInfo``); engines take their fractions of this."""
    free_bytes: int
    """As the driver reports it of an idle device."""
    compute_capability: str | None
    """``9.0``; AMD's as ROCm has it, 9.4 for gfx942; None: its vendor has none."""
    island: int
    """GPUs of a node that the fastest links join all to all; 0: all of a node, or not known, ``links`` says which."""
    links: str
    source: str
    """Of the memory."""


BOARD = ("NVSwitch joins the 8 of a board", 8)
SWITCHED = ("NVSwitch joins all of a node", 0)
PCIE = ("PCIe only: all of a node alike", 0)
BRIDGED = ("PCIe; whether NVLink bridges join pairs is not known", 0)
ALONE = ("one of a node", 0)
MESHED = ("NVLink cube mesh: 4 of 8 are joined all to all", 4)
FABRIC = ("Infinity Fabric joins 8", 8)


def _row(  # noqa: PLR0917 - columns of a table
    name: str, capability: str | None, mib: tuple[int, int], links: tuple[str, int], source: str, free: int = 0
) -> DeviceRow:
    """``mib``: total and visible; ``free`` where it is not what is visible."""
    return DeviceRow(
        name=name,
        vendor=name.split(maxsplit=1)[0].lower(),
        total_bytes=mib[0] * MIB,
        visible_bytes=mib[1] * MIB,
        free_bytes=(free or mib[1]) * MIB,
        compute_capability=capability,
        island=links[1],
        links=links[0],
        source=source,
    )


QUERY = "nvidia-smi, and CUDA's total of deviceQuery, in public logs"
TORCH = "nvidia-smi, and CUDA's total in PyTorch's messages, in public logs"
SIBLING = "nvidia-smi in public logs; reserve as on its sibling"
HIP = "HIP's total in PyTorch's messages in public logs; free is an estimate"

DEVICES = {
    "H100": _row("NVIDIA H100 80GB HBM3", "9.0", (81559, 81080), BOARD, "nvidia-smi -q of an idle one"),
    "H100-PCIE": _row("NVIDIA H100 PCIe", "9.0", (81559, 81080), BRIDGED, SIBLING),
    "H100-NVL": _row("NVIDIA H100 NVL", "9.0", (95830, 95334), BRIDGED, TORCH),
    "H800": _row("NVIDIA H800", "9.0", (81559, 81080), BOARD, SIBLING),
    "H200": _row("NVIDIA H200", "9.0", (143771, 143163), BOARD, "nvidia-smi; 139.81 GiB visible in a vLLM log"),
    "H200-NVL": _row("NVIDIA H200 NVL", "9.0", (143771, 143163), BRIDGED, SIBLING),
    "H20": _row("NVIDIA H20", "9.0", (97871, 97290), BOARD, TORCH),
    "H20-141GB": _row("NVIDIA H20-3e", "9.0", (143771, 143073), BOARD, "nvidia-smi; 139.72 GiB visible in a vLLM log"),
    "GH200": _row("NVIDIA GH200 480GB", "9.0", (97871, 96768), ALONE, QUERY),
    "A100-40GB": _row("NVIDIA A100-SXM4-40GB", "8.0", (40960, 40443), SWITCHED, "nvidia-smi -q of an idle one"),
    "A100-80GB": _row("NVIDIA A100-SXM4-80GB", "8.0", (81920, 81050), SWITCHED, QUERY),
    "A100-PCIE-40GB": _row("NVIDIA A100-PCIE-40GB", "8.0", (40960, 40339), BRIDGED, QUERY),
    "A100-PCIE-80GB": _row("NVIDIA A100 80GB PCIe", "8.0", (81920, 81038), BRIDGED, QUERY),
    "A800-80GB": _row("NVIDIA A800-SXM4-80GB", "8.0", (81920, 81050), SWITCHED, SIBLING),
    "A30": _row("NVIDIA A30", "8.0", (24576, 24064), BRIDGED, "nvidia-smi; 23.5 GiB visible in a vLLM log"),
    "A40": _row("NVIDIA A40", "8.6", (46068, 45403), BRIDGED, QUERY),
    "A10": _row("NVIDIA A10", "8.6", (23028, 22516), PCIE, QUERY),
    "A10G": _row("NVIDIA A10G", "8.6", (23028, 22516), PCIE, SIBLING),
    "A4500": _row("NVIDIA RTX A4500", "8.6", (20470, 20144), BRIDGED, SIBLING),
    "A5000": _row("NVIDIA RTX A5000", "8.6", (24564, 24238), BRIDGED, "nvidia-smi; 23.67 GiB visible in a vLLM log"),
    "A6000": _row("NVIDIA RTX A6000", "8.6", (49140, 48676), BRIDGED, QUERY),
    "L4": _row("NVIDIA L4", "8.9", (23034, 22518), PCIE, QUERY),
    "L20": _row("NVIDIA L20", "8.9", (46068, 45460), PCIE, SIBLING),
    "L40": _row("NVIDIA L40", "8.9", (46068, 45460), PCIE, SIBLING),
    "L40S": _row("NVIDIA L40S", "8.9", (46068, 45460), PCIE, "nvidia-smi -q of an idle one"),
    "T4": _row("NVIDIA Tesla T4", "7.5", (15360, 14918), PCIE, QUERY),
    "V100-16GB": _row("NVIDIA Tesla V100-SXM2-16GB", "7.0", (16384, 16144), MESHED, QUERY),
    "V100-32GB": _row("NVIDIA Tesla V100-SXM2-32GB", "7.0", (32768, 32510), MESHED, QUERY),
    "V100-PCIE-16GB": _row("NVIDIA Tesla V100-PCIE-16GB", "7.0", (16384, 16144), PCIE, SIBLING),
    "V100-PCIE-32GB": _row("NVIDIA Tesla V100-PCIE-32GB", "7.0", (32768, 32510), PCIE, SIBLING),
    "B200": _row("NVIDIA B200", "10.0", (183359, 182642), BOARD, TORCH),
    "B300": _row("NVIDIA B300 SXM6 AC", "10.3", (275040, 274115), BOARD, TORCH),
    "GB200": _row("NVIDIA GB200", "10.0", (189471, 188733), SWITCHED, TORCH),
    "GB300": _row("NVIDIA GB300", "10.3", (284208, 283136), SWITCHED, TORCH),
    "GB10": _row("NVIDIA GB10", "12.1", (124549, 124549), ALONE, "vLLM logs; free of shared RAM: an estimate", 117760),
    "RTX-3050-LAPTOP": _row("NVIDIA GeForce RTX 3050 6GB Laptop GPU", "8.6", (6144, 5900), PCIE, "an estimate"),
    "RTX-3090": _row("NVIDIA GeForce RTX 3090", "8.6", (24576, 24146), BRIDGED, "nvidia-smi; 23.58 GiB in vLLM logs"),
    "RTX-4080": _row("NVIDIA GeForce RTX 4080", "8.9", (16376, 15893), PCIE, SIBLING),
    "RTX-4090": _row("NVIDIA GeForce RTX 4090", "8.9", (24564, 24081), PCIE, QUERY),
    "RTX-5070": _row("NVIDIA GeForce RTX 5070", "12.0", (12227, 11721), PCIE, SIBLING),
    "RTX-5070-TI": _row("NVIDIA GeForce RTX 5070 Ti", "12.0", (16303, 15797), PCIE, SIBLING),
    "RTX-5080": _row("NVIDIA GeForce RTX 5080", "12.0", (16303, 15797), PCIE, SIBLING),
    "RTX-5090": _row("NVIDIA GeForce RTX 5090", "12.0", (32607, 32101), PCIE, QUERY),
    "RTX-6000-ADA": _row("NVIDIA RTX 6000 Ada Generation", "8.9", (49140, 48538), PCIE, TORCH),
    "RTX-PRO-6000": _row("NVIDIA RTX PRO 6000 Blackwell Server Edition", "12.0", (97887, 97249), PCIE, TORCH),
    "MXC500": _row("MetaX MXC500", None, (65536, 65536), ("MetaXLink joins 4", 4),
                   "mx-smi of an idle one: 858 of 65536 MiB used", 64678),
    "MI250X": _row("AMD Instinct MI250X", "9.0", (65520, 65520), ("not known; two GPUs a module", 0), HIP, 65400),
    "MI300X": _row("AMD Instinct MI300X", "9.4", (196592, 196592), FABRIC, HIP, 196300),
    "MI325X": _row("AMD Instinct MI325X", "9.4", (262128, 262128), FABRIC, HIP, 261800),
    "MI355X": _row("AMD Instinct MI355X", "9.5", (294896, 294896), FABRIC, HIP, 294600),
    "910B": _row("Ascend 910B3", None, (65536, 62740), ("HCCS joins 8", 8),
                 "npu-smi of idle ones: 3161 to 3418 MB used; 60.96 and 61.27 GiB visible in vLLM logs", 62300),
    "310P": _row("Ascend 310P3", None, (44280, 44280), PCIE, "a vLLM log; free is an estimate", 42700),
    "GAUDI-96GB": _row("Intel Gaudi2", None, (98304, 96891), ("its own links join 8", 8), "94.62 GiB visible in a log"),
}  # fmt: skip
"""By the name that ``--hardware`` takes. What is sold with several sizes has a row for each."""

ALIASES = {"A100": "A100-80GB", "H20-96GB": "H20", "C500": "MXC500", "ASCEND-910B": "910B", "GAUDI2": "GAUDI-96GB"}
"""Of ``--hardware`` only: A100 without a size is the larger one. In a log it would be a guess."""

SAME_SIZE = 0.12
"""A name's "80GB" and the driver's total differ by less."""
VARIANTS = frozenset({"TI", "SUPER", "LAPTOP", "MOBILE", "D", "NVL", "MIG", "PCIE"})
"""Words that make another device of a name."""
NOISE = frozenset({"RTX", "GTX"})
_SIZE = r"(?<![A-Z0-9.])(\d+(?:\.\d+)?)\s*(?:GB|GIB|G)\b"


@cache
def row_of(name: str) -> DeviceRow | None:
    """For a name of a driver, a log or ``--hardware``: ``NVIDIA H100 80GB HBM3``, ``2x RTX 3090``. None: not known.

    The sizes that a name says must be those of the row; a name that fits rows of several sizes is none.
    """
    plain = name.strip().casefold()
    for row in DEVICES.values():
        if plain in {row.name.casefold(), row.name.partition(" ")[2].casefold()}:
            return row
    words, sizes = _words(name), [float(found) * GIB for found in re.findall(_SIZE, name.upper())]
    fits = [
        (len(key_words), row)
        for key, row in DEVICES.items()
        if (key_words := _words(key)) <= words
        and words & VARIANTS <= key_words
        and all(abs(row.total_bytes / size - 1) < SAME_SIZE for size in sizes)
    ]
    best = [row for n, row in fits if n == max(n for n, _ in fits)]
    return best[0] if len({row.total_bytes for row in best}) == 1 else None


def joined_by(name: str) -> str:
    """How GPUs of a node are joined: ``nvlink``, ``pcie`` (a bridge may join pairs); empty: not known of this name."""
    row = row_of(name)
    if row is None or row.vendor != "nvidia":
        return ""
    links = (row.links, row.island)
    return "nvlink" if links in {BOARD, SWITCHED, MESHED} else "pcie" if links in {PCIE, BRIDGED} else ""


def visible_of(name: str, total_bytes: int) -> int:
    """What programs are told is the total of a device, whose driver reports ``total_bytes``."""
    row = row_of(name)
    return total_bytes if row is None else visible_in(row, total_bytes)


def visible_in(row: DeviceRow, total_bytes: int) -> int:
    """Less the reserve of its driver, unless the figure is smaller than a driver's: then somebody took it off."""
    reserve = row.total_bytes - row.visible_bytes
    return total_bytes - reserve if total_bytes > row.total_bytes - reserve / 2 else total_bytes


def _words(name: str) -> frozenset[str]:
    """Without sizes, what is in parentheses and a count: ``2x RTX3090 24GB (idle)`` -> 3090."""
    plain = re.sub(_SIZE, " ", re.sub(r"\(.*?\)", " ", name.upper()))
    plain = re.sub(r"^\s*\d+\s*X\b", " ", plain)
    plain = re.sub(r"\b(RTX|ASCEND)(\d)", r"\1 \2", re.sub(r"\bMXC(\d)", r"C\1", plain))
    plain = re.sub(r"\b910B[1-3]\b", "910B", re.sub(r"\b310P\d\b", "310P", plain))
    return frozenset(re.findall(r"[A-Z0-9]+", plain)) - NOISE
