"""Which errors of GPUs and NVSwitches did a node's kernel log?"""

from __future__ import annotations

import re

from diag.facts.device import Xid
from diag.facts.record import NotMeasured
from diag.probes.probe import Answers, Probe, always, told
from diag.probes.verbs import Ask, Request

LOG_S = 3.0
LINE = re.compile(r"(S?)Xid \((?:PCI:)?([0-9a-fA-F:.]+)\): (\d+)(?:, ?(.*))?")
"""``NVRM: Xid (PCI:0000:3b:00): 79, pid=…``, ``nvidia-nvswitch0: SXid (PCI:0000:86:00.0): 24007, Non-fatal, …``."""


def read(answers: Answers) -> tuple[Xid, ...]:
    rows = told(answers, "kernel log", tuple[tuple[float | None, str], ...])
    return tuple(_xid(at_s, line) for at_s, line in rows)


def _xid(at_s: float | None, line: str) -> Xid:
    match = LINE.search(line)
    if match is None:
        raise NotMeasured(f"unexpected line in the kernel log: {line[:80]!r}")
    switch, address, code, said = match.groups()
    whole = address.lower() if "." in address else f"{address.lower()}.0"
    return Xid(code=int(code), pci_address=whole, at_s=at_s, said=said or "", switch=bool(switch))


PROBE = Probe(
    topic="xids",
    requests=always(
        Request(name="kernel log", verb=Ask("kernel_log:xids", {"seconds": LOG_S}), deadline_s=LOG_S + 1),
    ),
    read=read,
)
