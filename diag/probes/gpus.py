"""What do a node's GPUs say of themselves? None there is proven from the bus; a GPU that cannot be read is Missing."""

from __future__ import annotations

from typing import Any

import msgspec

from diag.facts.device import Gpu, Pcie
from diag.facts.record import Missing, NotMeasured, is_known, peek
from diag.probes import devices, gpus_nvml, vendors
from diag.probes.gpus_nvml import Nvml
from diag.probes.probe import Answers, Probe, always, gap, maybe, told
from diag.probes.verbs import Ask, Request

NVML_S = 12.0
SAMPLE_S = 2.0
"""Utilisation is sampled that long, where there is a GPU."""


class Place(msgspec.Struct, frozen=True):
    """Where a device hangs on the bus, as the kernel says."""

    address: str
    kind: str
    path: tuple[str, ...] = ()
    """Its host bridge and the bridges down to it."""
    numa_node: int | None = None
    cpus: str | None = None
    width_max: int | None = None
    """Lanes of the device itself."""
    rdma: tuple[str, ...] = ()
    """Names of its RDMA devices: ``mlx5_0``."""


class Tree(msgspec.Struct, frozen=True):
    devices: tuple[Place, ...]


def read(answers: Answers) -> tuple[Gpu, ...]:
    """Raises NotMeasured for what is on the bus and cannot be read, the driver's state included."""
    bus = maybe(lambda: told(answers, devices.REQUEST.name, devices.Bus))
    try:
        nvml = told(answers, "gpus", Nvml)
    except NotMeasured as why:
        raise NotMeasured(f"{_seen(bus)}: {why}") from why
    known = _others(answers, bus) if nvml.absent else tuple(gpus_nvml.gpu(row, nvml) for row in nvml.gpus)
    tree = maybe(lambda: places(answers))
    return tuple(_placed(gpu, tree) for gpu in known)


def places(answers: Answers) -> dict[str, Place]:
    """By address."""
    return {place.address: place for place in told(answers, devices.REQUEST.name, Tree).devices}


def _placed(gpu: Gpu, tree: dict[str, Place] | Missing) -> Gpu:
    """With what the kernel knows of its place: an unknown address, or a bus that was not read, leaves gaps."""
    if isinstance(tree, Missing) or not is_known(gpu, "pci_address"):
        gone = tree if isinstance(tree, Missing) else peek(gpu, "pci_address")
        return msgspec.structs.replace(gpu, numa_node=gone, cpus=gone, pcie=_with_width(gpu, gone))
    place = tree.get(gpu.pci_address)
    if place is None:
        gone = gap(f"{gpu.pci_address} is not on the bus that is seen here")
        return msgspec.structs.replace(gpu, numa_node=gone, cpus=gone, pcie=_with_width(gpu, gone))
    return msgspec.structs.replace(
        gpu, numa_node=place.numa_node, cpus=place.cpus, pcie=_with_width(gpu, place.width_max)
    )


def _with_width(gpu: Gpu, device_width_max: Any) -> Any:
    pcie = peek(gpu, "pcie")
    return msgspec.structs.replace(pcie, device_width_max=device_width_max) if isinstance(pcie, Pcie) else pcie


def _seen(bus: devices.Bus | Missing) -> str:
    """What the bus says of NVIDIA GPUs that the library does not speak of."""
    if isinstance(bus, Missing):
        return f"bus not read ({bus.why})"
    drivers = [device.driver for device in bus.devices if device.vendor == "nvidia" and device.kind == "accelerator"]
    if not drivers:
        return "no NVIDIA GPU on the bus, but a device file of one"
    bound = sorted({driver or "no driver bound" for driver in drivers})
    return f"{len(drivers)} NVIDIA GPU on the bus ({', '.join(bound)})"


def _others(answers: Answers, bus: devices.Bus | Missing) -> tuple[Gpu, ...]:
    """Those of other vendors, where there is none of NVIDIA."""
    known = vendors.gpus(answers)
    if not known:
        _prove_absence(bus)
    return known


def _prove_absence(bus: devices.Bus | Missing) -> None:
    """Raises NotMeasured where no tool spoke of a GPU, and there may be one."""
    if isinstance(bus, Missing):
        raise NotMeasured(_seen(bus))
    names = sorted({device.vendor for device in bus.devices if device.kind == "accelerator"})
    if names:
        raise NotMeasured(f"{' and '.join(names)} GPU on the bus, of which no tool was asked")
    if bus.files:
        raise NotMeasured(f"{', '.join(bus.files)} there, but no such GPU on the bus, and no tool was asked")


PROBE = Probe(
    topic="gpus",
    requests=always(
        Request(name="gpus", verb=Ask("gpus:gpus", {"seconds": NVML_S, "sample_s": SAMPLE_S}), deadline_s=NVML_S + 2),
        devices.REQUEST,
        vendors.REQUEST,
    ),
    read=read,
)
