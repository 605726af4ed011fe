from __future__ import annotations

import pytest

from diag.facts.record import Missing, NotMeasured, peek
from diag.probes.systems import cpu_model
from tests.probes.recorded import answers, read, silent

NEOVERSE = """\
processor\t: 0
BogoMIPS\t: 2000.00
Features\t: fp asimd evtstrm aes
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd4f
CPU revision\t: 0

processor\t: 1
"""


def test_a_recorded_machine_is_what_it_was():
    system = read("system")
    assert (system.os, system.machine, system.cpus, system.cores, system.numa_nodes) == (
        "Debian GNU/Linux 12 (bookworm)", "x86_64", 2, 2, 1,
    )  # fmt: skip
    assert system.cpu_model == "Intel(R) Xeon(R) Processor"
    assert system.boot_id == "571072cc-b788-4731-9f41-5b1ba2de2cc6"
    assert system.uptime_s > 3000


def test_arm_cores_are_named_by_their_part_number():
    assert cpu_model(NEOVERSE) == "Arm Neoverse V2"
    assert cpu_model(NEOVERSE.replace("0xd4f", "0xfff")) == "Arm implementer 0x41 part 0xfff"


def test_a_cpuinfo_without_a_name_is_quoted():
    with pytest.raises(NotMeasured, match="no CPU name in /proc/cpuinfo: 'processor"):
        cpu_model("processor\t: 0\n")


def test_one_gap_does_not_hide_the_rest():
    system = read("system", os=silent("os"), boot={})
    assert peek(system, "os") == Missing("no answer within 8 s")
    assert peek(system, "boot_id") == Missing("/proc/sys/kernel/random/boot_id cannot be read there")
    assert system.cpus == 2


def test_without_sys_there_are_no_cores_to_count():
    machine = {**answers()["machine"].value, "cores": None, "numa_nodes": None}
    system = read("system", machine=machine)
    assert peek(system, "cores") == Missing("/sys/devices/system/cpu does not tell")
    assert peek(system, "numa_nodes") == Missing("no /sys/devices/system/node there")
