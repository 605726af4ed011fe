"""What do a node's GPUs say of themselves? None there is proven from the bus; a GPU that cannot be read is Missing."""

from __future__ import annotations

from typing import Any

import msgspec

from diag.facts.device import Gpu, GpuProcess
from diag.facts.record import NotMeasured
from diag.probes import devices
from diag.probes.probe import Answers, Probe, always, gap, told
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
    on_bus, bus_why = _on_bus(answers)
    nvidia = [device for device in on_bus if device.vendor == "nvidia"]
    try:
        nvml = told(answers, "gpus", _Nvml)
    except NotMeasured as why:
        drivers = sorted({device.driver or "no driver bound" for device in nvidia})
        seen = (
            f"{len(nvidia)} NVIDIA GPU on the bus ({', '.join(drivers)})"
            if nvidia
            else bus_why or "no NVIDIA GPU on the bus"
        )
        raise NotMeasured(f"{seen}: {why}") from why
    others = sorted({device.vendor for device in on_bus} - {"nvidia"})
    if nvml.absent and others:
        raise NotMeasured(f"{' and '.join(others)} GPU on the bus; no reader for it yet")
    return tuple(_gpu(row, nvml) for row in nvml.gpus)


def _on_bus(answers: Answers) -> tuple[list[Any], str]:
    try:
        found = devices.read(answers)
    except NotMeasured as why:
        return [], f"bus not read ({why})"
    return [device for device in found if device.kind == "accelerator"], ""


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
