from __future__ import annotations

from diag.facts.record import Missing, peek
from tests.probes.recorded import read, silent


def test_memory_is_in_bytes():
    memory = read("memory")
    assert memory.total_bytes == 24684096 * 1024
    assert memory.available_bytes < memory.total_bytes
    assert memory.cgroup_limit_bytes is None


def test_what_each_numa_node_could_give_is_free_and_reclaimable_memory_in_their_order():
    one = (
        "Node {0} MemTotal: 9 kB\nNode {0} MemFree: {0}00 kB\nNode {0} FilePages: 20 kB\nNode {0} SReclaimable: 1 kB\n"
    )
    folder = "/sys/devices/system/node/node{}/meminfo"
    files = {folder.format(node): one.format(node) for node in (10, 1, 2)}
    files[folder.format(3)] = "Node 3 MemTotal: 0 kB\n"
    memory = read("memory", numa_meminfo=files)
    assert memory.numa_available_bytes == (121 * 1024, 221 * 1024, 1021 * 1024)
    assert "no meminfo" in peek(read("memory", numa_meminfo={}), "numa_available_bytes").why


def test_a_cgroup_that_cannot_be_read_is_not_one_without_a_limit():
    memory = read("memory", cgroup=silent("cgroup", "LookupError: not mounted"))
    assert peek(memory, "cgroup_limit_bytes") == Missing("LookupError: not mounted")
    assert memory.total_bytes > 0


def test_an_old_kernel_does_not_say_what_is_available():
    memory = read("memory", meminfo={"/proc/meminfo": "MemTotal:       24684096 kB\nMemFree: 1 kB\n"})
    assert peek(memory, "available_bytes").why.startswith("no MemAvailable in meminfo: 'MemTotal:")


def test_limits_keep_soft_and_hard_apart_and_none_is_unlimited():
    limits = read(
        "limits", limits={"memlock": [65536, None], "nofile": [1024, 4096], "nproc": [7, 8], "stack": [None, None]}
    )
    assert (limits.memlock_soft_bytes, limits.memlock_hard_bytes) == (65536, None)
    assert (limits.nofile_soft, limits.nofile_hard, limits.nproc_soft) == (1024, 4096, 7)
    assert limits.stack_soft_bytes is None
