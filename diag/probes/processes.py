"""Which engines, Ray daemons and other users of accelerators run on a node?"""

from __future__ import annotations

import msgspec

from diag.facts.software import Process
from diag.probes.probe import Answers, Probe, always, told
from diag.probes.verbs import Ask, Request


class _Process(msgspec.Struct, frozen=True):
    pid: int
    kind: str
    name: str
    user: str | None
    age_s: float | None


def read(answers: Answers) -> tuple[Process, ...]:
    found = told(answers, "processes", tuple[_Process, ...])
    return tuple(
        Process(pid=row.pid, kind=row.kind, name=row.name, user=row.user, started_s_ago=row.age_s)
        for row in sorted(found, key=lambda row: row.pid)
    )


PROBE = Probe(topic="processes", requests=always(Request(name="processes", verb=Ask("processes:processes"))), read=read)
