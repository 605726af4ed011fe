"""Which Snapshot does hardware make that somebody wrote down instead of measuring?"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import Any

import msgspec

from diag.errors import DiagError
from diag.facts.device import Gpu
from diag.facts.node import Node, Reach
from diag.facts.record import Missing
from diag.facts.snapshot import SCHEMA, Controller, Snapshot
from diag.hardware import ALIASES, DECLARED, DEVICES, DeviceRow, row_of, visible_in
from diag.units import MIB, size

MOST_OF_A_NODE, MOST_GPUS = 256, 20_000


def declared_snapshot(
    text: str,
    gpu_memory_bytes: int | None = None,
    *,
    gpu_free_bytes: int | None = None,
    compute_capability: str | None = None,
    link_bytes_per_s: float | None = None,
) -> Snapshot:
    """``8xH100-80GB`` or ``2x8xH100-80GB`` (nodes × GPUs × device) as a Snapshot in which nothing was measured.

    What is named beside the text stands for the row's, or describes a device without one: total and free memory of a
    GPU, its compute capability (``9``, ``9.0``, ``90`` or ``sm_90``), the link between nodes. Raises DiagError.
    """
    nodes, gpus, name = _parse(text)
    row = _described(name, gpu_memory_bytes, gpu_free_bytes, _capability(compute_capability))
    if link_bytes_per_s is not None and link_bytes_per_s <= 0:
        raise DiagError("--link", f"{link_bytes_per_s:g} bytes/s: expected a rate above 0, e.g. 100Gbit/s")
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
        declared_link_bytes_per_s=link_bytes_per_s,
    )


def _parse(text: str) -> tuple[int, int, str]:
    match = re.fullmatch(r"(?:(\d{1,4})x)?(\d{1,4})x(\w[\w .()-]*)", text.strip())
    if match is None or not int(match[1] or 1) or not int(match[2]):
        raise DiagError("--hardware", f"{text!r}: expected e.g. 8xH100-80GB or 2x8xH100-80GB")
    nodes, gpus = int(match[1] or 1), int(match[2])
    if gpus > MOST_OF_A_NODE or nodes * gpus > MOST_GPUS:
        limits = f"at most {MOST_OF_A_NODE} GPUs a node and {MOST_GPUS:,} in all"
        raise DiagError("--hardware", f"{text!r}: {nodes} nodes of {gpus} GPUs; expected {limits}")
    return nodes, gpus, match[3].strip()


def _capability(text: str | None) -> str | None:
    """``9``, ``9.0``, ``90``, ``sm_90a`` -> ``9.0``; no engine runs on 1.x and 2.x: ``12`` is ``12.0``."""
    if text is None:
        return None
    match = re.fullmatch(r"(?:sm_?)?(?:(\d{1,2})\.(\d)|([12]?\d)|(\d{1,2})(\d)a?)", text.strip().lower())
    if match is None:
        raise DiagError("--compute-capability", f"{text!r}: expected e.g. 9.0, or 90")
    return f"{match[1] or match[3] or match[4]}.{match[2] or match[5] or 0}"


SMALLEST_BYTES = 256 * MIB
"""Of a GPU that anything is planned on; what is less lacks its unit."""


def _described(name: str, total: int | None, free: int | None, capability: str | None) -> DeviceRow:
    row = _known(name)
    if row is None and total is None:
        raise DiagError("--hardware", f"{name!r}: its memory is not known; {_near(name)}", do="or name --gpu-memory")
    for flag, given in (("--gpu-memory", total), ("--gpu-free", free)):
        if given is not None and given < SMALLEST_BYTES:
            raise DiagError(flag, f"{size(given)} is no GPU's memory; expected e.g. 64GiB")
    row = _with_total(row, name, total, capability)
    if free is not None and free > row.total_bytes:
        raise DiagError("--gpu-free", f"{size(free)} of {size(row.total_bytes)}: more than there is")
    return msgspec.structs.replace(
        row,
        free_bytes=row.free_bytes if free is None else free,
        compute_capability=capability or row.compute_capability,
    )


def _with_total(row: DeviceRow | None, name: str, total: int | None, capability: str | None) -> DeviceRow:
    """The row with another total, less what the driver keeps; a device without a row, of which nothing is held."""
    if row is not None and total is None:
        return row
    if row is not None and total is not None:
        seen, source = visible_in(row, total), f"--gpu-memory; the rest: {row.source}"
        free = max(0, seen - (row.visible_bytes - row.free_bytes))
        return msgspec.structs.replace(row, total_bytes=total, visible_bytes=seen, free_bytes=free, source=source)
    vendor = "nvidia" if capability else "unknown"  # only NVIDIA numbers its devices so
    assert total is not None
    return DeviceRow(
        name=name,
        vendor=vendor,
        total_bytes=total,
        visible_bytes=total,
        free_bytes=total,
        compute_capability=None,
        island=0,
        links="not known",
        source="declared",
    )


def _known(name: str) -> DeviceRow | None:
    key = name.upper().replace(" ", "-")
    return DEVICES.get(ALIASES.get(key, key)) or row_of(name)


def _near(name: str) -> str:
    names = get_close_matches(name.upper(), [*DEVICES, *ALIASES], n=4, cutoff=0.5)
    return f"known is e.g. {', '.join(names or ['H100', 'A100-80GB', 'MXC500'])}"


def _node(number: int, nodes: int, gpus: int, row: DeviceRow) -> Node:
    capability: Any = row.compute_capability
    if row.vendor == "unknown":
        capability = Missing("not declared: --compute-capability")
    devices = tuple(
        Gpu(
            index=index,
            name=row.name,
            vendor=row.vendor,
            total_bytes=row.total_bytes,
            free_bytes=row.free_bytes,
            compute_capability=capability,
            processes=(),
        )
        for index in range(gpus)
    )
    name = DECLARED if nodes == 1 else f"{DECLARED}{number}"
    summary = f"declared, not measured: {row.source}"
    return Node(name=name, address=name, reach=Reach(outcome=DECLARED, summary=summary), gpus=devices)
