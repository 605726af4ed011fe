from __future__ import annotations

import os
from pathlib import Path

from tests.node.asking import ask
from tests.node.trees import plant


def test_this_machine_says_its_kernel_and_cpus():
    found = ask("machine:machine")
    assert found["kernel"] == os.uname().release
    assert found["cpus"] == len(os.sched_getaffinity(0))
    assert found["cores"] >= 1


def test_threads_of_one_core_are_one_core_and_memory_only_nodes_are_no_numa_nodes(tmp_path: Path):
    cpus = {
        f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list": f"{cpu % 4},{cpu % 4 + 4}\n"
        for cpu in range(8)
    }
    tree = {
        "sys/devices/system/cpu/online": "0-7\n",
        "sys/devices/system/node/has_cpu": "0-1\n",
        "sys/devices/system/node/online": "0-1,8,16\n",
        **cpus,
    }
    found = ask("machine:machine", root=plant(tmp_path, tree))
    assert (found["cores"], found["numa_nodes"]) == (4, 2)


def test_what_sys_does_not_tell_is_none(tmp_path: Path):
    found = ask("machine:machine", root=str(tmp_path))
    assert (found["cores"], found["numa_nodes"]) == (None, None)
