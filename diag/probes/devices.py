"""Which accelerators and HCAs are on a node's PCI bus? An empty tuple is proof: the bus was read and holds none."""

from __future__ import annotations

import msgspec

from diag.facts.device import PciDevice
from diag.probes.probe import Answers, Probe, always, told
from diag.probes.verbs import Ask, Request

REQUEST = Request(name="pci", verb=Ask("pci:devices"))


class Bus(msgspec.Struct, frozen=True):
    devices: tuple[PciDevice, ...]
    files: tuple[str, ...]
    """Device files of accelerators."""


def read(answers: Answers) -> tuple[PciDevice, ...]:
    return told(answers, REQUEST.name, Bus).devices


PROBE = Probe(topic="devices", requests=always(REQUEST), read=read)
