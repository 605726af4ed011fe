"""What does torch say of accelerators whose vendor has no tool here, or none that is read?

Asked under the agent's interpreter through torch.accelerator: names and sizes, in torch's order. How much memory is
free, and who holds it, torch tells only with a context on the device, which no fact is worth.
"""

from __future__ import annotations

import msgspec

from diag.facts.device import Between, Gpu
from diag.facts.record import NotMeasured
from diag.probes.probe import gap
from diag.probes.vendors.vendor import Found, Tool, not_understood

TOOLS: tuple[Tool, ...] = ()
WITHOUT_CONTEXT = "torch tells it only with a context on the device"


class _Device(msgspec.Struct, frozen=True):
    name: str | None = None
    total: int | None = None


class _Torch(msgspec.Struct, frozen=True):
    version: str
    kind: str | None = None
    devices: tuple[_Device, ...] = ()


def gpus(found: Found) -> tuple[Gpu, ...]:
    missing = _without_tool(found)
    try:
        printed = found.text("torch")
        seen = msgspec.json.decode(printed, type=_Torch)
    except NotMeasured as why:
        raise NotMeasured(f"{missing}; {why}" if "torch" in found.said else missing) from None
    except msgspec.DecodeError:
        raise not_understood(f"{missing}; torch", printed) from None
    if not seen.devices:
        raise NotMeasured(f"{missing}; torch {seen.version} sees no accelerator")
    return tuple(_gpu(index, device, found, missing) for index, device in enumerate(seen.devices))


def between(found: Found) -> tuple[Between, ...]:
    raise NotMeasured(_without_tool(found))


def _without_tool(found: Found) -> str:
    """Which tool is missing, and where it was looked for."""
    if not found.looked_for:
        return f"no tool for {found.vendor} is read"
    return f"no {' and no '.join(found.looked_for)} in {':'.join(dict.fromkeys(found.places))}"


def _gpu(index: int, device: _Device, found: Found, missing: str) -> Gpu:
    unread = gap(f"{missing}; {WITHOUT_CONTEXT}")
    return Gpu(
        index=index,
        name=device.name or f"{found.vendor} accelerator",
        vendor=found.vendor,
        total_bytes=gap(f"{missing}; torch does not say") if device.total is None else device.total,
        used_bytes=unread,
        free_bytes=unread,
        utilisation=unread,
        processes=unread,
        compute_mode=None,
        cuda_driver=None,
        fabric=None,
        persistence=None,
        health=None,
    )
