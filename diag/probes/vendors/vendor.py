"""What does each vendor's module offer, and what was printed on a node by its tool?"""

from __future__ import annotations

import json
import re
from typing import Any, Protocol

import msgspec

from diag.facts.device import Between, Gpu
from diag.facts.record import NotMeasured

SHOWN = 80
MIB = 1024**2
BEYOND = 10**18
"""No figure of a device has so many digits."""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A vendor's program: what to run is data. ``commands``: what it is asked, by name; the first matters most."""

    name: str
    commands: dict[str, tuple[str, ...]]
    places: tuple[str, ...] = ()
    """Folders in which it is looked for besides PATH."""
    libraries: tuple[str, ...] = ()
    """Folders in which its libraries may be, where the loader does not know them."""
    ids: str = ""
    """Pattern of what its first command prints; ``{id}`` in a command stands for each of what it finds."""


class Printed(msgspec.Struct, frozen=True):
    """What one command printed, or ``why`` it was not asked to the end."""

    status: int | None = None
    stdout: str = ""
    stderr: str = ""
    why: str | None = None


class Found(msgspec.Struct, frozen=True):
    """One vendor's accelerators on a node."""

    vendor: str
    tool: str | None = None
    looked_for: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    said: dict[str, Printed] = {}
    devices: dict[str, dict[str, str]] = {}
    """PCI address -> what sysfs says of its link and place, by the name of the file."""
    above: dict[str, tuple[dict[str, str], ...]] = {}
    """PCI address -> the same of each bridge above it, from the root down to its slot: what it can at most."""
    closed: tuple[str, ...] = ()
    """Device files that this user may not open, each with why."""

    def text(self, command: str) -> str:
        """What a command printed. Raises NotMeasured where it was not asked, failed or did not end."""
        if command not in self.said:
            raise NotMeasured(f"{self.tool or 'no tool'} was not asked for {command}")
        printed = self.said[command]
        if printed.why is not None:
            raise NotMeasured(printed.why)
        if printed.status != 0:
            words = (printed.stderr.strip() or printed.stdout.strip() or "no output").splitlines()
            raise NotMeasured(f"{self.tool} ({command}) ended with status {printed.status}: {words[-1][:SHOWN]}")
        return printed.stdout

    def json(self, command: str) -> Any:
        """As ``text``, parsed."""
        printed = self.text(command)
        try:
            return json.loads(printed)
        except ValueError:
            raise not_understood(f"{self.tool} ({command})", printed) from None


class Vendor(Protocol):
    """A module of this folder. Both functions are pure and raise NotMeasured where nothing can be said."""

    TOOLS: tuple[Tool, ...]

    def gpus(self, found: Found) -> tuple[Gpu, ...]: ...

    def between(self, found: Found) -> tuple[Between, ...]: ...


def not_understood(what: str, printed: str) -> NotMeasured:
    """The first characters of what was printed instead of what its reader knows."""
    return NotMeasured(f"{what} printed what is not understood: {printed.strip()[:SHOWN]!r}")


def pci_address(said: str) -> str:
    """``0000:9D:00.0``, ``00000000:3B:00.0`` or ``3b:00.0`` as sysfs writes it. Raises NotMeasured for the rest."""
    parts = said.strip().lower().split(":")
    if len(parts) == 2:  # noqa: PLR2004 - without its domain
        parts = ["0000", *parts]
    if len(parts) != 3 or not all(part.replace(".", "").isalnum() for part in parts):  # noqa: PLR2004
        raise not_understood("as a PCI address it", said)
    return f"{parts[0][-4:]}:{parts[1]}:{parts[2]}"


def figure(said: object, what: str) -> float:
    """``97W``, ``"39.00 C"``, ``826``, ``12 %`` as a number. Raises NotMeasured for ``NA``, ``-`` and the like."""
    if isinstance(said, (int, float)) and not isinstance(said, bool) and abs(said) < BEYOND:
        return float(said)
    words = str(said).strip()
    read = re.fullmatch(r"(-?\d{1,18}(?:\.\d+)?)\s*(?:%|°?C|W|MHz|MiB|MB)?", words)
    if read is None:
        raise NotMeasured(f"{what}: {words[:SHOWN]!r}")
    return float(read[1])


def whole(said: object, what: str) -> int:
    """As ``figure``, rounded."""
    return round(figure(said, what))
