"""What is known of devices by name: the memory their driver reports. Data, each row with its source."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from diag.errors import DiagError
from diag.facts.device import Gpu
from diag.facts.node import Node, Reach
from diag.facts.record import Missing
from diag.facts.snapshot import SCHEMA, Controller, Snapshot
from diag.units import MIB

DECLARED = "declared"
"""Run id and reach outcome of a Snapshot that somebody wrote down instead of measuring."""


class DeviceRow(msgspec.Struct, frozen=True, kw_only=True):
    """``total_bytes`` as the driver reports it, ``free_bytes`` of it on an idle device (its own reserve is gone)."""

    name: str
    vendor: str
    total_bytes: int
    free_bytes: int
    source: str


def _row(name: str, vendor: str, total_mib: int, free_mib: int, source: str) -> DeviceRow:
    return DeviceRow(name=name, vendor=vendor, total_bytes=total_mib * MIB, free_bytes=free_mib * MIB, source=source)


DEVICES = {
    "H100": _row("NVIDIA H100 80GB HBM3", "nvidia", 81559, 81080, "nvidia-smi -q of an idle one"),
    "H200": _row("NVIDIA H200", "nvidia", 143771, 143163, "nvidia-smi total; 139.8 GiB usable in a vLLM log"),
    "H20": _row("NVIDIA H20", "nvidia", 97871, 97300, "nvidia-smi total; reserve as on H100 in proportion"),
    "A100-40GB": _row("NVIDIA A100-SXM4-40GB", "nvidia", 40960, 40443, "nvidia-smi -q of an idle one"),
    "A100-80GB": _row("NVIDIA A100-SXM4-80GB", "nvidia", 81920, 81050, "nvidia-smi total; 79.15 GiB usable in logs"),
    "L40S": _row("NVIDIA L40S", "nvidia", 46068, 45460, "nvidia-smi -q of an idle one"),
    "MXC500": _row("MetaX MXC500", "metax", 65536, 64678, "mx-smi of an idle one: 858 of 65536 MiB used"),
    "MI300X": _row("AMD Instinct MI300X", "amd", 196592, 196300, "rocm-smi total; what is free idle is an estimate"),
}  # fmt: skip
"""By the name that ``--hardware`` takes."""

ALIASES = {"H100-80GB": "H100", "H200-141GB": "H200", "H20-96GB": "H20", "L40S-48GB": "L40S", "A100": "A100-80GB",
           "MXC500-64GB": "MXC500", "C500": "MXC500", "MI300X-192GB": "MI300X"}  # fmt: skip


def declared_snapshot(text: str, gpu_memory_bytes: int | None = None) -> Snapshot:
    """``8xH100-80GB`` or ``2x8xH100-80GB`` (nodes × GPUs × device) as a Snapshot in which nothing was measured.

    ``gpu_memory_bytes``: total memory of a GPU where the row is not right or there is none. Raises DiagError.
    """
    nodes, gpus, row = _parse(text, gpu_memory_bytes)
    unmeasured: Any = Missing(f"declared as {text}")
    return Snapshot(
        schema=SCHEMA,
        taken_at="",
        run_id=DECLARED,
        level="passive",
        level_why=f"declared as {text}: nothing was measured",
        controller=Controller(hostname="", python="", diag=""),
        nodes=tuple(_node(number, nodes, gpus, row) for number in range(1, nodes + 1)),
        collective=unmeasured,
    )


def _parse(text: str, gpu_memory_bytes: int | None) -> tuple[int, int, DeviceRow]:
    match = re.fullmatch(r"(?:(\d+)x)?(\d+)x([A-Za-z][\w-]*)", text.strip())
    if match is None or not int(match[1] or 1) or not int(match[2]):
        raise DiagError("--hardware", f"{text!r}: expected e.g. 8xH100-80GB or 2x8xH100-80GB")
    name = match[3].upper()
    row = DEVICES.get(ALIASES.get(name, name))
    if gpu_memory_bytes is not None:
        vendor = row.vendor if row else "unknown"
        row = DeviceRow(
            name=match[3], vendor=vendor, total_bytes=gpu_memory_bytes, free_bytes=gpu_memory_bytes, source="declared"
        )
    if row is None:
        raise DiagError("--hardware", f"{match[3]!r}: its memory is not known", do=f"known: {', '.join(DEVICES)}")
    return int(match[1] or 1), int(match[2]), row


def _node(number: int, nodes: int, gpus: int, row: DeviceRow) -> Node:
    devices = tuple(
        Gpu(
            index=index,
            name=row.name,
            vendor=row.vendor,
            total_bytes=row.total_bytes,
            free_bytes=row.free_bytes,
            processes=(),
        )
        for index in range(gpus)
    )
    name = DECLARED if nodes == 1 else f"{DECLARED}{number}"
    summary = f"declared, not measured: {row.source}"
    return Node(name=name, address=name, reach=Reach(outcome=DECLARED, summary=summary), gpus=devices)
