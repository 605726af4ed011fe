from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.asking import Refused, ask
from tests.node.trees import plant

V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "35 31 0:32 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def test_version_2_takes_the_tightest_of_all_ancestors(tmp_path: Path):
    tree = {
        "proc/self/cgroup": "0::/user.slice/job.scope\n",
        "proc/self/mountinfo": V2_MOUNT,
        "sys/fs/cgroup/user.slice/memory.max": "8589934592\n",
        "sys/fs/cgroup/user.slice/memory.current": "1024\n",
        "sys/fs/cgroup/user.slice/job.scope/memory.max": "max\n",
        "sys/fs/cgroup/user.slice/job.scope/memory.current": "512\n",
    }
    found = ask("cgroups:memory", root=plant(tmp_path, tree))
    assert (found["version"], found["limit"], found["used"]) == (2, 8589934592, 1024)


def test_version_1_in_a_container_whose_cgroup_is_the_top_of_its_mount(tmp_path: Path):
    tree = {
        "proc/self/cgroup": "5:cpu:/\n4:memory:/docker/abc\n0::/\n",
        "proc/self/mountinfo": V2_MOUNT + V1_MOUNT.format(top="/docker/abc"),
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "4294967296\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "100\n",
    }
    found = ask("cgroups:memory", root=plant(tmp_path, tree))
    assert (found["version"], found["limit"], found["used"]) == (1, 4294967296, 100)


def test_the_largest_number_of_version_1_is_no_limit(tmp_path: Path):
    tree = {
        "proc/self/cgroup": "4:memory:/a\n",
        "proc/self/mountinfo": V1_MOUNT.format(top="/"),
        "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
    }
    assert ask("cgroups:memory", root=plant(tmp_path, tree))["limit"] is None


def test_a_hierarchy_that_is_not_mounted_is_not_the_same_as_no_limit(tmp_path: Path):
    tree = {"proc/self/cgroup": "0::/a\n", "proc/self/mountinfo": ""}
    with pytest.raises(Refused, match="not mounted"):
        ask("cgroups:memory", root=plant(tmp_path, tree))


def test_this_machine_answers():
    assert ask("cgroups:memory")["version"] in (1, 2)
