from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from diag import probes
from diag.inventory import Host
from diag.remote.local import LocalTransport
from diag.remote.session import open_session
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


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory cgroup (version 1, as here) of 512 MiB, removed afterwards."""
    folder = Path(f"/sys/fs/cgroup/memory/diag-test-{os.getpid()}")
    try:
        folder.mkdir()
        (folder / "memory.limit_in_bytes").write_text(str(512 << 20))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield folder
    folder.rmdir()


def test_a_real_limit_is_seen_by_an_agent_below_it(group: Path):
    enter = ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$0" "$@"')
    session = open_session(Host(name="me", transport="local", exec=enter), LocalTransport(), 20)
    try:
        memory = probes.facts_from(session.ask(probes.requests_for(model_path=None), 20))["memory"]
    finally:
        session.end(5)
    assert memory.cgroup_limit_bytes == 512 << 20
    assert 0 < memory.cgroup_used_bytes < 512 << 20
