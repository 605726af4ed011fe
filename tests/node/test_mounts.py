from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.node.asking import Refused, ask
from tests.node.trees import plant

MOUNTINFO = """\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:50 / /mnt rw - nfs4 filer:/old rw
41 40 0:51 / /mnt rw,relatime shared:7 - lustre 10.0.0.1@tcp:/scratch rw
42 27 0:52 / /mnt/with\\040blank rw - fuse.juicefs JuiceFS:models rw
"""


def test_shm_is_what_statvfs_says():
    found = ask("mounts:filesystem", path="/dev/shm")
    space = os.statvfs("/dev/shm")
    assert (found["kind"], found["mount_point"]) == ("tmpfs", "/dev/shm")
    assert found["total"] == space.f_blocks * space.f_frsize


def test_the_longest_mount_point_counts_and_of_two_on_one_another_the_upper():
    assert ask("mounts:mount", mountinfo=MOUNTINFO, path="/mnt/models")["kind"] == "lustre"
    assert ask("mounts:mount", mountinfo=MOUNTINFO, path="/mntx")["kind"] == "ext4"
    blank = ask("mounts:mount", mountinfo=MOUNTINFO, path="/mnt/with blank/Qwen3")
    assert (blank["mount_point"], blank["kind"]) == ("/mnt/with blank", "fuse.juicefs")


def test_a_path_that_does_not_exist_says_so(tmp_path: Path):
    with pytest.raises(Refused, match="FileNotFoundError"):
        ask("mounts:filesystem", path=str(tmp_path / "nowhere"))


def test_the_container_runtime_keeps_its_layers_where_its_settings_say(tmp_path: Path):
    data = tmp_path / "layers"
    data.mkdir()
    tree = {
        "etc/docker/daemon.json": f'{{"data-root": "{data}"}}',
        f"{str(data)[1:]}/": "",
        "proc/self/mountinfo": MOUNTINFO,
    }
    assert ask("mounts:containers", root=plant(tmp_path / "root", tree))["path"] == str(data)


def test_without_a_container_runtime_there_is_no_file_system_of_it(tmp_path: Path):
    assert ask("mounts:containers", root=str(tmp_path)) is None
