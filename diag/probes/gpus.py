"""What do a node's GPUs say of themselves? None there is proven from the bus; a GPU that cannot be read is Missing."""

from __future__ import annotations

from typing import Any

import msgspec

from diag.facts.device import Gpu, GpuProcess
from diag.facts.record import Missing, NotMeasured
from diag.probes import devices
from diag.probes.probe import Answers, Probe, always, gap, maybe, told
from diag.probes.verbs import Ask, Request

NVML_S = 12.0
SAMPLE_S = 2.0
"""Utilisation is sampled that long, where there is a GPU."""


class _Process(msgspec.Struct, frozen=True):
    pid: int
    name: str | None
    used: int | None


class _Gpu(msgspec.Struct, frozen=True):
    index: int
    why: dict[str, str]
    lost: str | None = None
    name: str | None = None
    uuid: str | None = None
    pci_address: str | None = None
    memory: tuple[int, int, int] | None = None
    """Total, used, free."""
    compute_capability: str | None = None
    compute_mode: str | None = None
    mig: bool | None = None
    processes: tuple[_Process, ...] | None = None
    utilisation: float | None = None


class _Nvml(msgspec.Struct, frozen=True):
    absent: bool = False
    why: dict[str, str] = {}
    driver: str | None = None
    cuda_driver: str | None = None
    gpus: tuple[_Gpu, ...] = ()


def read(answers: Answers) -> tuple[Gpu, ...]:
    """Raises NotMeasured for what is on the bus and cannot be read, the driver's state included."""
    bus = maybe(lambda: told(answers, devices.REQUEST.name, devices.Bus))
    try:
        nvml = told(answers, "gpus", _Nvml)
    except NotMeasured as why:
        raise NotMeasured(f"{_seen(bus)}: {why}") from why
    if nvml.absent:
        _prove_absence(bus)
    return tuple(_gpu(row, nvml) for row in nvml.gpus)


def _seen(bus: devices.Bus | Missing) -> str:
    """What the bus says of NVIDIA GPUs that the library does not speak of."""
    if isinstance(bus, Missing):
        return f"bus not read ({bus.why})"
    drivers = [device.driver for device in bus.devices if device.vendor == "nvidia" and device.kind == "accelerator"]
    if not drivers:
        return "no NVIDIA GPU on the bus, but a device file of one"
    bound = sorted({driver or "no driver bound" for driver in drivers})
    return f"{len(drivers)} NVIDIA GPU on the bus ({', '.join(bound)})"


def _prove_absence(bus: devices.Bus | Missing) -> None:
    """Raises NotMeasured where the node has no NVIDIA GPU and perhaps another."""
    if isinstance(bus, Missing):
        raise NotMeasured(_seen(bus))
    vendors = sorted({device.vendor for device in bus.devices if device.kind == "accelerator"})
    if vendors:
        raise NotMeasured(f"{' and '.join(vendors)} GPU on the bus; no reader for it yet")
    if bus.files:
        raise NotMeasured(f"{', '.join(bus.files)} there, but no such GPU on the bus; no reader for it yet")


def _gpu(row: _Gpu, nvml: _Nvml) -> Gpu:
    why = {**nvml.why, **row.why}

    def known(field: str, value: object) -> Any:
        return gap(row.lost or why.get(field, "NVML did not say")) if value is None else value

    memory = row.memory or (None, None, None)
    return Gpu(
        index=row.index,
        name=row.name or "unknown",
        vendor="nvidia",
        uuid=known("uuid", row.uuid),
        pci_address=known("pci_address", row.pci_address and pci_address(row.pci_address)),
        total_bytes=known("memory", memory[0]),
        used_bytes=known("memory", memory[1]),
        free_bytes=known("memory", memory[2]),
        driver=known("driver", nvml.driver),
        cuda_driver=known("cuda_driver", nvml.cuda_driver),
        compute_capability=known("compute_capability", row.compute_capability),
        compute_mode=known("compute_mode", row.compute_mode),
        mig=known("mig", row.mig),
        utilisation=known("utilisation", row.utilisation),
        processes=known("processes", None if row.processes is None else tuple(map(_process, row.processes))),
    )


def _process(row: _Process) -> GpuProcess:
    return GpuProcess(pid=row.pid, name=row.name, used_bytes=row.used)


def pci_address(bus_id: str) -> str:
    """NVML writes eight digits of domain in capitals: ``00000000:3B:00.0`` -> ``0000:3b:00.0``."""
    domain, _, rest = bus_id.lower().partition(":")
    return f"{domain[-4:]}:{rest}"


PROBE = Probe(
    topic="gpus",
    requests=always(
        Request(name="gpus", verb=Ask("gpus:gpus", {"seconds": NVML_S, "sample_s": SAMPLE_S}), deadline_s=NVML_S + 2),
        devices.REQUEST,
    ),
    read=read,
)
