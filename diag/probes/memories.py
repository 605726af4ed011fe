"""How much RAM does a node have, and how much of it may the process use?"""

from __future__ import annotations

import re

import msgspec

from diag.facts.record import NotMeasured
from diag.facts.system import Memory
from diag.probes.probe import Answers, Probe, always, maybe, text, told
from diag.probes.verbs import Ask, Read, Request

RECLAIMABLE = ("MemFree", "FilePages", "SReclaimable")
"""What a NUMA node could give; vLLM's CPU backend refuses a KV cache above it, whatever MemAvailable says."""


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
        numa_available_bytes=maybe(lambda: _of_numa_nodes(told(answers, "numa meminfo", dict[str, str]))),
    )


def _of_numa_nodes(files: dict[str, str]) -> tuple[int, ...]:
    """In the order of the nodes' numbers; those without memory are left out. Raises NotMeasured."""
    if not files:
        raise NotMeasured("/sys/devices/system/node has no meminfo there")
    texts = [files[path] for path in sorted(files, key=lambda path: int(re.sub(r"\D", "", path) or 0))]
    return tuple(sum(_amount(text, name) for name in RECLAIMABLE) for text in texts if _amount(text, "MemTotal"))


def _amount(meminfo: str, name: str) -> int:
    match = re.search(rf"^(?:Node \d+ )?{name}: *([0-9]+) kB$", meminfo, re.MULTILINE)
    if match is None:
        raise NotMeasured(f"no {name} in meminfo: {meminfo[:80]!r}")
    return int(match[1]) * 1024


PROBE = Probe(
    topic="memory",
    requests=always(
        Request(name="meminfo", verb=Read(("/proc/meminfo",), 4096)),
        Request(name="cgroup", verb=Ask("cgroups:memory")),
        Request(name="numa meminfo", verb=Read(("/sys/devices/system/node/node*/meminfo",), 4096)),
    ),
    read=read,
)
