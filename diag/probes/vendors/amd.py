"""What does amd-smi say of AMD GPUs? Where it is not there, rocm-smi is asked.

Its JSON is read as the source of its command line writes it in ROCm 6.0, 6.2, 6.3 and 7.1 (ROCm/amdsmi:
``amdsmi_commands.py``, and its changelog for ``process`` and ``topology``); shortened captured output of MI300X with
ROCm 6 and 7 stands in the tests of public monitors. No whole session was seen. What amd-smi calls MB is MiB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from diag.facts.device import Between, Clocks, Ecc, Gpu, GpuProcess, Retired
from diag.facts.record import NotMeasured
from diag.probes.probe import gap, maybe
from diag.probes.vendors import rocm_smi
from diag.probes.vendors.amd_paths import Row, at, number, size_bytes, whole
from diag.probes.vendors.rocm_smi import capability, divided, named
from diag.probes.vendors.vendor import Found, Tool, not_understood, pci_address

TOOLS: tuple[Tool, ...] = (
    Tool(
        name="amd-smi",
        places=rocm_smi.PLACES,
        commands={
            "static": ("static", "--json"),
            "metric": ("metric", "--json"),
            "process": ("process", "--json"),
            "list": ("list", "--json"),
            "topology": ("topology", "--json"),
            "bad pages": ("bad-pages", "--json"),
        },
    ),
    rocm_smi.TOOL,
)
VIOLATIONS = {
    "prochot": "hw_slowdown",
    "ppt": "sw_power_cap",
    "socket_thermal": "hw_thermal_slowdown",
    "vr_thermal": "hw_thermal_slowdown",
    "hbm_thermal": "hw_thermal_slowdown",
}
NOBODY = ("N/A", "Not Found", "No running processes detected")
SAME_SOCKET_HOPS = 2


def gpus(found: Found) -> tuple[Gpu, ...]:
    if found.tool == rocm_smi.TOOL.name:
        return rocm_smi.gpus(found)
    known: dict[int, dict[str, Any]] = {}
    for command in ("static", "metric", "list"):
        try:
            rows = _rows(found, command)
        except NotMeasured:
            if command == "static":
                raise
            continue
        for index, row in rows.items():
            known.setdefault(index, {})[command] = row
    holders = maybe(lambda: _holders(found))
    pages = maybe(lambda: _rows(found, "bad pages"))
    return tuple(_gpu(index, row, holders, pages) for index, row in sorted(known.items()))


def between(found: Found) -> tuple[Between, ...]:
    """xGMI, or what is at most crossed: PCIe inside a socket as NODE, across sockets as SYS."""
    if found.tool == rocm_smi.TOOL.name:
        raise NotMeasured("rocm-smi is not asked for the topology")
    return tuple(pair for index, row in sorted(_rows(found, "topology").items()) for pair in _pairs(index, row))


def _rows(found: Found, command: str) -> dict[int, Row]:
    """``[{"gpu": 0, …}]``, of ROCm 7 ``{"gpu_data": […]}``; the GPUs by their number."""
    said = found.json(command)
    said = said.get("gpu_data", [said]) if isinstance(said, dict) else said
    if not isinstance(said, list) or not all(isinstance(row, dict) and isinstance(row.get("gpu"), int) for row in said):
        raise not_understood(f"amd-smi {command}", str(said))
    return {row["gpu"]: row for row in said}


def _gpu(index: int, row: Row, holders: Any, pages: Any) -> Gpu:
    partition = maybe(lambda: str(at(row, "partition")))
    return Gpu(
        index=index,
        name=_name(row),
        vendor="amd",
        uuid=maybe(lambda: str(at(row, "uuid"))),
        serial=maybe(lambda: str(at(row, "serial"))),
        pci_address=maybe(lambda: pci_address(str(at(row, "address")))),
        total_bytes=maybe(lambda: size_bytes(row, "total")),
        used_bytes=maybe(lambda: size_bytes(row, "used")),
        free_bytes=maybe(lambda: size_bytes(row, "free")),
        reserved_bytes=None,
        driver=maybe(lambda: str(at(row, "driver"))),
        vbios=maybe(lambda: str(at(row, "vbios"))),
        compute_capability=maybe(lambda: capability(str(at(row, "graphics")))),
        compute_mode=None,
        cuda_driver=None,
        fabric=None,
        mig=divided(partition),
        persistence=None,
        health=None,
        utilisation=maybe(lambda: number(row, "use") / 100),
        processes=holders if not isinstance(holders, dict) else holders.get(index, ()),
        ecc=maybe(lambda: _ecc(row)),
        retired=maybe(lambda: _retired(index, pages)),
        temperature_c=maybe(lambda: whole(row, "hotspot")),
        memory_temperature_c=maybe(lambda: whole(row, "memory heat")),
        slowdown_c=maybe(lambda: whole(row, "slowdown")),
        power_w=maybe(lambda: number(row, "power")),
        power_cap_w=maybe(lambda: number(row, "cap")),
        clocks=_clocks(row),
        throttled_by=maybe(lambda: _throttled(row)),
    )


def _clocks(row: Row) -> Clocks:
    return Clocks(
        sm=maybe(lambda: whole(row, "clock")),
        sm_max=maybe(lambda: whole(row, "clock max")),
        memory=maybe(lambda: whole(row, "memory clock")),
        memory_max=maybe(lambda: whole(row, "memory clock max")),
    )


def _name(row: Row) -> str:
    """``AMD Instinct MI300X``; by the device's id where the tool names only that."""
    try:
        said = str(at(row, "name"))
    except NotMeasured:
        said = ""
    device = str(maybe(lambda: at(row, "device"))).lower()
    return named(said, device)


def _ecc(row: Row) -> Ecc:
    """Counted since the driver was loaded."""
    states = _block_states(row)
    lifetime = gap("amd-smi counts since the driver was loaded")
    return Ecc(
        enabled="ENABLED" in states if states else None,
        volatile_corrected=whole(row, "corrected"),
        volatile_uncorrected=maybe(lambda: whole(row, "uncorrected")),
        aggregate_corrected=lifetime,
        aggregate_uncorrected=lifetime,
    )


def _block_states(row: Row) -> list[str]:
    """``{"UMC": "ENABLED"}``, before ROCm 6.2 ``[{"block": "UMC", "status": "ENABLED"}]``."""
    blocks = maybe(lambda: at(row, "blocks"))
    if isinstance(blocks, dict):
        return [str(state) for state in blocks.values()]
    return [str(one.get("status")) for one in blocks if isinstance(one, dict)] if isinstance(blocks, list) else []


def _retired(index: int, pages: Any) -> Retired:
    """``retired``, ``pending`` and ``un_res`` (could not be): a list, one entry, or words that there are none."""
    if not isinstance(pages, dict):
        raise NotMeasured(pages.why)
    row = pages.get(index, {})
    counts = {kind: _entries(row.get(kind, "N/A")) for kind in ("retired", "pending", "un_res")}
    return Retired(
        kind="pages",
        corrected=gap("amd-smi does not tell why a page was retired"),
        uncorrected=counts["retired"],
        pending=counts["pending"] > 0,
        failed=counts["un_res"] > 0,
    )


def _entries(said: Any) -> int:
    if isinstance(said, list):
        return len(said)
    if isinstance(said, dict):
        return 1
    if str(said).startswith("No bad pages"):
        return 0
    raise NotMeasured(f"amd-smi bad-pages: {str(said)[:80]!r}")


def _throttled(row: Row) -> tuple[str, ...]:
    """Violations by name from ROCm 6.3 on, before it whether at all."""
    try:
        said = at(row, "throttle")
    except NotMeasured:
        word = str(at(row, "throttled"))
        if word not in {"THROTTLED", "UNTHROTTLED"}:
            raise not_understood("throttle_status", word) from None
        if word == "THROTTLED":
            raise NotMeasured("amd-smi says that it is throttled, and not by what") from None
        return ()
    if not isinstance(said, dict):
        raise not_understood("amd-smi metric: throttle", str(said))
    states = {name: list(_leaves(said.get(f"{name}_violation_status"))) for name in VIOLATIONS}
    if not any(state in {"ACTIVE", "NOT ACTIVE"} for found in states.values() for state in found):
        raise NotMeasured("amd-smi tells no violation of any limit on this GPU")
    return tuple(dict.fromkeys(VIOLATIONS[name] for name, found in states.items() if "ACTIVE" in found))


def _leaves(said: Any) -> Iterator[Any]:
    """ROCm 7 keeps a list for each partition."""
    if isinstance(said, dict):
        said = list(said.values())
    if isinstance(said, list):
        for one in said:
            yield from _leaves(one)
    else:
        yield said


def _holders(found: Found) -> dict[int, tuple[GpuProcess, ...]]:
    """``process_list`` of entries, before ROCm 6.1.2 one ``process_info``; words where there is none."""
    holders: dict[int, tuple[GpuProcess, ...]] = {}
    for index, row in _rows(found, "process").items():
        entries = row.get("process_list", [row])
        if not isinstance(entries, list):
            raise not_understood("amd-smi process", str(row))
        infos = [entry.get("process_info", "N/A") if isinstance(entry, dict) else entry for entry in entries]
        holders[index] = tuple(_process(info) for info in infos if info not in NOBODY)
    return holders


def _process(info: Any) -> GpuProcess:
    if not isinstance(info, dict) or not str(info.get("pid", "")).isdecimal():
        raise not_understood("amd-smi process", str(info))
    memory = info.get("memory_usage")
    held = memory.get("vram_mem") if isinstance(memory, dict) else info.get("mem_usage")
    held = held.get("value") if isinstance(held, dict) else held
    name = info.get("name")
    return GpuProcess(
        pid=int(info["pid"]),
        name=str(name) if name not in (None, "N/A") else None,
        used_bytes=held if isinstance(held, int) and held >= 0 else None,
    )


def _links(row: Row) -> list[dict[str, Any]]:
    links = row.get("links")
    if links is None:
        kinds, hops, states = (_by_gpu(row, name) for name in ("link_type", "hops", "link_accessibility"))
        links = [
            {"gpu": other, "link_type": kind, "num_hops": hops.get(other), "link_status": states.get(other)}
            for other, kind in kinds.items()
        ]
    if not isinstance(links, list) or not all(isinstance(link, dict) for link in links):
        raise not_understood("amd-smi topology", str(links))
    return links


def _by_gpu(row: Row, name: str) -> dict[int, Any]:
    """``{"gpu_1": "XGMI"}`` by the number of the GPU."""
    said = row.get(name, {})
    if not isinstance(said, dict) or not all(re.fullmatch(r"gpu_\d+", key) for key in said):
        raise not_understood(f"amd-smi topology: {name}", str(said))
    return {int(key[4:]): value for key, value in said.items()}


def _pairs(index: int, row: Row) -> Iterator[Between]:
    """Links of one GPU to those after it; ``links``, before ROCm 6.1.2 a mapping for each property."""
    for link in _links(row):
        other, kind = link.get("gpu"), link.get("link_type")
        if not isinstance(other, int) or not isinstance(kind, str):
            raise not_understood("amd-smi topology", str(link))
        hops = link.get("num_hops")
        far = "NODE" if isinstance(hops, int) and hops <= SAME_SOCKET_HOPS else "SYS"
        path = {"XGMI": "link", "PCIE": far}.get(kind)
        if other > index and path:
            p2p = {"ENABLED": "ok", "DISABLED": "not accessible"}.get(str(link.get("link_status")))
            yield Between(a=f"gpu:{index}", b=f"gpu:{other}", path=path, p2p=p2p)
