"""Which operating system, kernel and CPUs does a node have?"""

from __future__ import annotations

import re

import msgspec

from diag.facts.record import NotMeasured
from diag.facts.system import System
from diag.probes.probe import Answers, Probe, always, gap, maybe, number, text, told
from diag.probes.verbs import Ask, Read, Request

OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
BOOT_ID = "/proc/sys/kernel/random/boot_id"

ARM_CORES = {
    ("0x41", "0xd0c"): "Arm Neoverse N1",
    ("0x41", "0xd40"): "Arm Neoverse V1",
    ("0x41", "0xd49"): "Arm Neoverse N2",
    ("0x41", "0xd4f"): "Arm Neoverse V2",
    ("0x41", "0xd83"): "Arm Neoverse V3AE",
    ("0x41", "0xd84"): "Arm Neoverse V3",
    ("0x41", "0xd8e"): "Arm Neoverse N3",
    ("0x48", "0xd01"): "HiSilicon Kunpeng-920",
    ("0x48", "0xd02"): "HiSilicon TaiShan v120",
    ("0x70", "0x662"): "Phytium FTC662",
    ("0x70", "0x663"): "Phytium FTC663",
    ("0x70", "0x664"): "Phytium FTC664",
    ("0x70", "0x862"): "Phytium FTC862",
    ("0xc0", "0xac3"): "Ampere-1",
    ("0xc0", "0xac4"): "Ampere-1A",
}
"""Implementer and part numbers as the Arm and vendors' reference manuals assign them (MIDR_EL1)."""


class _Machine(msgspec.Struct, frozen=True):
    kernel: str
    machine: str
    cpus: int
    cores: int | None
    numa_nodes: int | None


def read(answers: Answers) -> System:
    machine = told(answers, "machine", _Machine)
    return System(
        os=maybe(lambda: _os_name(answers)),
        kernel=machine.kernel,
        machine=machine.machine,
        cpu_model=maybe(lambda: cpu_model(text(answers, "cpu", "/proc/cpuinfo"))),
        cpus=machine.cpus,
        cores=gap("/sys/devices/system/cpu does not tell") if machine.cores is None else machine.cores,
        numa_nodes=gap("no /sys/devices/system/node there") if machine.numa_nodes is None else machine.numa_nodes,
        boot_id=maybe(lambda: text(answers, "boot", BOOT_ID).strip()),
        uptime_s=maybe(lambda: _uptime_s(text(answers, "boot", "/proc/uptime"))),
    )


def _os_name(answers: Answers) -> str:
    files = told(answers, "os", dict[str, str])
    for path in OS_RELEASE:
        match = re.search(r"^PRETTY_NAME=[\"']?([^\"'\n]*)", files.get(path, ""), re.MULTILINE)
        if match:
            return match[1]
    raise NotMeasured("no PRETTY_NAME in os-release")


def cpu_model(cpuinfo: str) -> str:
    """The first CPU's name; on Arm, where /proc/cpuinfo has none, that of its core."""
    fields = dict(re.findall(r"^([\w ]+?)\s*: *(.*)$", cpuinfo[::1], re.MULTILINE)[::-1])
    for key in ("model name", "Model Name", "cpu model", "cpu"):
        if fields.get(key):
            return " ".join(fields[key].split())
    implementer, part = fields.get("CPU implementer"), fields.get("CPU part")
    if implementer and part:
        return ARM_CORES.get((implementer, part), f"Arm implementer {implementer} part {part}")
    raise NotMeasured(f"no CPU name in /proc/cpuinfo: {cpuinfo[:80]!r}")


def _uptime_s(uptime: str) -> float:
    seconds = uptime.partition(" ")[0].partition(".")[0]
    return float(number(seconds, "/proc/uptime"))


PROBE = Probe(
    topic="system",
    requests=always(
        Request(name="machine", verb=Ask("machine:machine")),
        Request(name="os", verb=Read(OS_RELEASE, 4096)),
        Request(name="cpu", verb=Read(("/proc/cpuinfo",), 2048)),
        Request(name="boot", verb=Read((BOOT_ID, "/proc/uptime"), 256)),
    ),
    read=read,
)
