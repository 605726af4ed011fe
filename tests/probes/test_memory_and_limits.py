from __future__ import annotations

from diag.facts.record import Missing, peek
from tests.probes.recorded import read, silent


def test_memory_is_in_bytes():
    memory = read("memory")
    assert memory.total_bytes == 24684096 * 1024
    assert memory.available_bytes < memory.total_bytes
    assert memory.cgroup_limit_bytes is None


def test_a_cgroup_that_cannot_be_read_is_not_one_without_a_limit():
    memory = read("memory", cgroup=silent("cgroup", "LookupError: not mounted"))
    assert peek(memory, "cgroup_limit_bytes") == Missing("LookupError: not mounted")
    assert memory.total_bytes > 0


def test_an_old_kernel_does_not_say_what_is_available():
    memory = read("memory", meminfo={"/proc/meminfo": "MemTotal:       24684096 kB\nMemFree: 1 kB\n"})
    assert peek(memory, "available_bytes").why.startswith("no MemAvailable in /proc/meminfo: 'MemTotal:")


def test_limits_keep_soft_and_hard_apart_and_none_is_unlimited():
    limits = read(
        "limits", limits={"memlock": [65536, None], "nofile": [1024, 4096], "nproc": [7, 8], "stack": [None, None]}
    )
    assert (limits.memlock_soft_bytes, limits.memlock_hard_bytes) == (65536, None)
    assert (limits.nofile_soft, limits.nofile_hard, limits.nproc_soft) == (1024, 4096, 7)
    assert limits.stack_soft_bytes is None
