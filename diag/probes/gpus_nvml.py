"""How is what NVML answered about one GPU read? N/A becomes None, a refusal Missing with NVML's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from diag.facts.device import Clocks, Ecc, Fabric, Gpu, GpuProcess, MigInstance, NvLink, Pcie, Retired
from diag.probes.probe import gap

THROTTLES = {
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Bits of nvml.h (nvmlClocksEventReasons); being idle (1) and clocks set by an application (2) are none."""
NVLINK_VERSIONS = {1: "1.0", 2: "2.0", 3: "2.2", 4: "3.0", 5: "3.1", 6: "4.0", 7: "5.0", 8: "6.0"}
FABRIC_STATES = ("not_supported", "not_started", "in_progress", "completed")
FABRIC_FAULTS = {0: "degraded bandwidth", 2: "route recovery", 4: "unhealthy route", 6: "access timeout recovery"}
"""Two bits each in the health mask, from this one on; 1 means that it is so."""
CONFIGURATION_BIT, CONFIGURATIONS = 8, {
    2: "wrong system GUID", 3: "wrong chassis serial number", 4: "no partition", 5: "too few NVLinks",
    6: "incompatible firmware", 7: "wrong location", 8: "GPU in an invalid state",
}  # fmt: skip
SUMMARIES = {2: "unhealthy", 3: "limited capacity"}
SWITCH = 2
"""NVML's kind of a link's other end: an NVSwitch."""

Said = UnsetType | None
Count = int | None | tuple[str] | UnsetType
"""A number, None (N/A), or NVML's words alone in a list."""


class Process(msgspec.Struct, frozen=True):
    pid: int
    name: str | None
    used: int | None


class EccRow(msgspec.Struct, frozen=True):
    enabled: bool
    pending: bool
    volatile_corrected: Count
    volatile_uncorrected: Count
    aggregate_corrected: Count
    aggregate_uncorrected: Count


class RetiredRow(msgspec.Struct, frozen=True):
    kind: str
    corrected: int
    uncorrected: int
    pending: bool
    failed: bool | None


class ClocksRow(msgspec.Struct, frozen=True):
    sm: Count
    sm_max: Count
    memory: Count
    memory_max: Count


class PcieRow(msgspec.Struct, frozen=True):
    generation: int
    width: int
    generation_max: Count
    width_max: Count
    device_generation_max: Count
    replays: Count


class LinkRow(msgspec.Struct, frozen=True, array_like=True):
    index: int
    active: bool
    version: int | None
    remote: str | None
    remote_kind: int | None
    replays: int | None
    recoveries: int | None
    crc_errors: int | None


class FabricRow(msgspec.Struct, frozen=True):
    state: int
    failure: str | None
    mask: int
    summary: int


class PairRow(msgspec.Struct, frozen=True, array_like=True):
    other: int
    ancestor: int | None
    there: int | None
    """NVML's status of reads by this GPU of the other; ``back``: by the other of this one."""
    back: int | None


class GpuRow(msgspec.Struct, frozen=True):
    """UNSET: not answered, ``why`` or the node's ``rest`` says why."""

    index: int
    why: dict[str, str]
    lost: str | None = None
    name: str | Said = UNSET
    uuid: str | Said = UNSET
    serial: str | Said = UNSET
    pci_address: str | Said = UNSET
    memory: tuple[int, int, int, int | None] | Said = UNSET
    """Total, used, free, reserved."""
    vbios: str | Said = UNSET
    compute_capability: str | Said = UNSET
    compute_mode: str | Said = UNSET
    persistence: bool | Said = UNSET
    mig: bool | Said = UNSET
    mig_instances: tuple[tuple[str, str | None, int | None], ...] | Said = UNSET
    processes: tuple[Process, ...] | Said = UNSET
    utilisation: float | Said = UNSET
    ecc: EccRow | Said = UNSET
    retired: RetiredRow | Said = UNSET
    temperature_c: int | Said = UNSET
    memory_temperature_c: int | Said = UNSET
    slowdown_c: int | Said = UNSET
    power_w: float | Said = UNSET
    power_cap_w: float | Said = UNSET
    power_default_w: float | Said = UNSET
    clocks: ClocksRow | Said = UNSET
    throttle: int | Said = UNSET
    pcie: PcieRow | Said = UNSET
    links: tuple[LinkRow, ...] | Said = UNSET
    fabric: FabricRow | Said = UNSET
    pairs: tuple[PairRow, ...] | Said = UNSET


class Nvml(msgspec.Struct, frozen=True):
    """``rest``: why what is not there was not answered; None: NVML answered everything that it was asked."""

    absent: bool = False
    why: dict[str, str] = {}
    rest: str | None = None
    driver: str | None = None
    cuda_driver: str | None = None
    gpus: tuple[GpuRow, ...] = ()


NO_RESERVE = "this driver does not say"
LOST = "GPU is lost"
"""NVML's words for its error 15, also where a GPU falls off the bus while it is asked."""


AS_TOLD = (
    "uuid", "serial", "vbios", "compute_capability", "compute_mode", "persistence", "mig", "utilisation",
    "temperature_c", "memory_temperature_c", "slowdown_c", "power_w", "power_cap_w", "power_default_w",
)  # fmt: skip
"""Fields of a Gpu that stand in the row as they are."""


def gpu(row: GpuRow, nvml: Nvml) -> Gpu:
    """All but where the GPU hangs on the bus, which NVML does not know."""

    def of_node(field: str, value: str | None) -> Any:
        return gap(nvml.why.get(field) or nvml.rest or "NVML did not say") if value is None else value

    return Gpu(
        index=row.index,
        name=row.name or "unknown",
        vendor="nvidia",
        driver=of_node("driver", nvml.driver),
        cuda_driver=of_node("cuda_driver", nvml.cuda_driver),
        health=None,
        lost=row.lost or next((why for field, why in row.why.items() if field != "pairs" and why.endswith(LOST)), None),
        **{field: _known(field, row, nvml) for field in AS_TOLD},
        **{field: _made(told, reader, row, nvml) for field, (told, reader) in READ.items()},
    )


def _known(field: str, row: GpuRow, nvml: Nvml) -> Any:
    value = getattr(row, field)
    return value if value is not UNSET else gap(row.lost or row.why.get(field) or nvml.rest or "NVML did not say")


def _made(told: str, reader: Callable[[Any], Any], row: GpuRow, nvml: Nvml) -> Any:
    """By ``reader`` of what the row tells; what it does not tell, and what the device has not, stays that."""
    value = getattr(row, told)
    return _known(told, row, nvml) if value is UNSET or value is None else reader(value)


def _fields(row: msgspec.Struct) -> dict[str, Any]:
    """Of a record of which each field may have failed alone: what NVML said of it becomes its gap."""
    named: Mapping[str, Any] = msgspec.structs.asdict(row)
    return {name: gap(value[0]) if isinstance(value, tuple) else value for name, value in named.items()}


def _instance(uuid: str, profile: str | None, total_bytes: int | None) -> MigInstance:
    return MigInstance(uuid=uuid, profile=profile, total_bytes=total_bytes)


def _process(row: Process) -> GpuProcess:
    return GpuProcess(pid=row.pid, name=row.name, used_bytes=row.used)


def throttles(bits: int) -> tuple[str, ...]:
    """What holds its clocks back, of a bit mask of NVML's."""
    return tuple(name for bit, name in THROTTLES.items() if bits & bit)


def _link(row: LinkRow) -> NvLink:
    return NvLink(
        index=row.index,
        active=row.active,
        version=NVLINK_VERSIONS.get(row.version or 0),
        remote=row.remote and pci_address(row.remote),
        replays=row.replays,
        recoveries=row.recoveries,
        crc_errors=row.crc_errors,
    )


def _fabric(row: FabricRow) -> Fabric:
    state = FABRIC_STATES[row.state] if row.state < len(FABRIC_STATES) else f"unknown ({row.state})"
    return Fabric(state=state, status=row.failure or "success", health=tuple(_faults(row)))


def _faults(row: FabricRow) -> list[str]:
    faults = [name for bit, name in FABRIC_FAULTS.items() if row.mask >> bit & 3 == 1]
    configuration = CONFIGURATIONS.get(row.mask >> CONFIGURATION_BIT & 0xF)
    summary = SUMMARIES.get(row.summary)
    return [*faults, *([configuration] if configuration else []), *([summary] if summary else [])]


def pci_address(bus_id: str) -> str:
    """NVML writes eight digits of domain in capitals: ``00000000:3B:00.0`` -> ``0000:3b:00.0``."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


READ: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "pci_address": ("pci_address", pci_address),
    "total_bytes": ("memory", lambda memory: memory[0]),
    "used_bytes": ("memory", lambda memory: memory[1]),
    "free_bytes": ("memory", lambda memory: memory[2]),
    "reserved_bytes": ("memory", lambda memory: gap(NO_RESERVE) if memory[3] is None else memory[3]),
    "mig_instances": ("mig_instances", lambda rows: tuple(_instance(*each) for each in rows)),
    "processes": ("processes", lambda rows: tuple(map(_process, rows))),
    "ecc": ("ecc", lambda found: Ecc(**_fields(found))),
    "retired": ("retired", lambda found: Retired(**_fields(found))),
    "clocks": ("clocks", lambda found: Clocks(**_fields(found))),
    "throttled_by": ("throttle", throttles),
    "pcie": ("pcie", lambda found: Pcie(**_fields(found))),
    "links": ("links", lambda rows: tuple(map(_link, rows))),
    "fabric": ("fabric", _fabric),
}
"""Field of a Gpu -> field of the row, and what it makes of that."""
