"""How much RAM does a node have, and how much of it may the process use?"""

from __future__ import annotations

import re

import msgspec

from diag.facts.record import NotMeasured
from diag.facts.system import Memory
from diag.probes.probe import Answers, Probe, always, maybe, text, told
from diag.probes.verbs import Ask, Read, Request


class _Cgroup(msgspec.Struct, frozen=True):
    limit: int | None
    used: int | None


def read(answers: Answers) -> Memory:
    meminfo = text(answers, "meminfo", "/proc/meminfo")
    return Memory(
        total_bytes=maybe(lambda: _amount(meminfo, "MemTotal")),
        available_bytes=maybe(lambda: _amount(meminfo, "MemAvailable")),
        cgroup_limit_bytes=maybe(lambda: told(answers, "cgroup", _Cgroup).limit),
        cgroup_used_bytes=maybe(lambda: told(answers, "cgroup", _Cgroup).used),
    )


def _amount(meminfo: str, name: str) -> int:
    match = re.search(rf"^{name}: *([0-9]+) kB$", meminfo, re.MULTILINE)
    if match is None:
        raise NotMeasured(f"no {name} in /proc/meminfo: {meminfo[:80]!r}")
    return int(match[1]) * 1024


PROBE = Probe(
    topic="memory",
    requests=always(
        Request(name="meminfo", verb=Read(("/proc/meminfo",), 4096)),
        Request(name="cgroup", verb=Ask("cgroups:memory")),
    ),
    read=read,
)
