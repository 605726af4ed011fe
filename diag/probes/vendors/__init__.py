"""What do accelerators of other vendors than NVIDIA say of themselves? A file for each vendor, behind one Protocol.

A new vendor is a module with TOOLS, ``gpus`` and ``between``, and a line in VENDORS; its PCI id stands in
``diag/node/pci.py``, its device files in ``diag/node/accelerators.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from diag.facts.device import UNSAID, Between, Gpu, Pcie
from diag.facts.record import UNASKED, Missing, NotMeasured, peek
from diag.probes.probe import Answers, gap, told
from diag.probes.vendors import amd, ascend, generic, hygon, metax
from diag.probes.vendors.vendor import Found, Vendor
from diag.probes.verbs import Ask, Request

VENDORS: Mapping[str, Vendor] = {"amd": amd, "ascend": ascend, "hygon": hygon, "metax": metax}
GENERIC: Vendor = generic
TOOLS_S = 16.0
REQUEST = Request(
    name="accelerators",
    verb=Ask(
        "accelerators:tools",
        {
            "vendors": {name: msgspec.to_builtins(vendor.TOOLS) for name, vendor in VENDORS.items()},
            "seconds": TOOLS_S,
        },
    ),
    deadline_s=TOOLS_S + 2,
)
GENERATIONS = {2.5: 1, 5.0: 2, 8.0: 3, 16.0: 4, 32.0: 5, 64.0: 6}
"""GT/s of PCIe -> its generation."""
WIDEST = 32


class _Answer(msgspec.Struct, frozen=True):
    absent: bool = False
    vendors: tuple[Found, ...] = ()


def gpus(answers: Answers) -> tuple[Gpu, ...]:
    """Empty: there is none of another vendor. Raises NotMeasured, with the vendor's name, where one cannot be read."""
    return tuple(gpu for found in _found(answers) for gpu in _gpus(found))


def between(answers: Answers) -> tuple[Between, ...]:
    """Each pair of GPUs, and of a GPU and an HCA, once. Raises NotMeasured where a vendor's tool does not tell."""
    return tuple(pair for found in _found(answers) for pair in _reader(found).between(found))


def over(known: tuple[Between, ...], answers: Answers) -> tuple[Between, ...]:
    """``known`` from the bus alone, and in its place what the vendors' tools say: of their own links only they know."""
    told_ = {frozenset((pair.a, pair.b)): pair for pair in between(answers)}
    rest = tuple(pair for pair in known if frozenset((pair.a, pair.b)) not in told_)
    return (*told_.values(), *rest)


def closed_files(answers: Answers) -> tuple[str, ...]:
    """Device files of vendors whose tool is here that this user may not open, each with why.

    Without a tool it may be a processor's own graphics, which nobody computes on.
    """
    return tuple(file for found in _found(answers) if found.tool for file in found.closed)


def _found(answers: Answers) -> tuple[Found, ...]:
    return told(answers, REQUEST.name, _Answer).vendors


def _reader(found: Found) -> Vendor:
    return VENDORS[found.vendor] if found.tool and found.vendor in VENDORS else GENERIC


def _gpus(found: Found) -> Iterator[Gpu]:
    try:
        read = _reader(found).gpus(found)
    except NotMeasured as why:
        closed = f"; closed to this user: {', '.join(found.closed)}" if found.closed else ""
        raise NotMeasured(f"{found.vendor} accelerator: {why}{closed}") from why
    for gpu in read:
        yield _told(gpu, found)


def _told(gpu: Gpu, found: Found) -> Gpu:
    """With its link as sysfs has it; what nobody was asked for says so."""
    address = str(peek(gpu, "pci_address"))
    pcie = _pcie(found.devices.get(address, {}), found.above.get(address, ()))
    unasked: dict[str, Any] = {name: UNSAID for name in gpu.__struct_fields__ if peek(gpu, name) == UNASKED}
    return msgspec.structs.replace(gpu, **{**unasked, "pcie": pcie})


def _pcie(link: Mapping[str, str], above: Sequence[Mapping[str, str]]) -> Pcie | Missing:
    """As the link is now; ``16.0 GT/s PCIe`` and ``16``. A link that sleeps is slower on purpose."""
    now, width = _generation(link.get("current_link_speed", "")), _lanes(link.get("current_link_width", ""))
    if now is None or width is None:
        return Missing("sysfs does not tell its link")
    own, lanes = _generation(link.get("max_link_speed", "")), _lanes(link.get("max_link_width", ""))
    return Pcie(
        generation=now,
        width=width,
        generation_max=_in_its_slot(own, [_generation(each.get("max_link_speed", "")) for each in above]),
        width_max=_in_its_slot(lanes, [_lanes(each.get("max_link_width", "")) for each in above]),
        device_generation_max=gap("sysfs does not tell") if own is None else own,
        replays=gap("sysfs does not count them"),
    )


def _in_its_slot(own: int | None, above: Sequence[int | None]) -> Any:
    """The least of the device and the bridges above it, the last of which is its slot; None: no bridge is shown."""
    if not above:
        return None
    if own is None or above[-1] is None:
        return gap("sysfs does not tell what the device and its slot can")
    return min(own, *(each for each in above if each is not None))


def _lanes(width: str) -> int | None:
    """Emulated ones say 0, 63 or 255."""
    return int(width) if width.isdecimal() and 0 < int(width) <= WIDEST else None


def _generation(speed: str) -> int | None:
    read = re.match(r"([\d.]+) GT/s", speed)
    return GENERATIONS.get(float(read[1])) if read else None
