from __future__ import annotations

from typing import Any

import pytest

from diag.facts.record import Missing, peek
from diag.probes.filesystems import shared
from tests.probes.recorded import answers, read, silent

MODEL = "filesystem model /tmp/models/Qwen3-tiny"


def by_use(**changed: Any) -> dict[str, Any]:
    return {filesystem.use: filesystem for filesystem in read("filesystems", **changed)}


def test_every_path_that_engines_use_has_a_row():
    found = by_use()
    assert set(found) == {"shm", "tmp", "root", "model"}
    assert (found["shm"].kind, found["shm"].total_bytes) == ("tmpfs", 25276514304)
    assert found["model"].path == "/tmp/models/Qwen3-tiny"
    assert found["model"].shared is False


def test_a_hung_mount_keeps_its_place_and_hides_no_other():
    found = by_use(**{MODEL: silent(MODEL, "no answer within 5 s")})
    assert peek(found["model"], "free_bytes") == Missing("/tmp/models/Qwen3-tiny: no answer within 5 s")
    assert found["model"].path == "/tmp/models/Qwen3-tiny"
    assert found["shm"].free_bytes > 0


def test_the_container_runtimes_root_is_named_by_the_node():
    root = {**answers()["filesystem root /"].value, "path": "/data/docker"}
    assert by_use(**{"filesystem containers": root})["containers"].path == "/data/docker"


def test_a_file_system_without_inodes_says_that_there_are_none():
    shm = {**answers()["filesystem shm /dev/shm"].value, "inodes": 0, "free_inodes": 0}
    assert by_use(**{"filesystem shm /dev/shm": shm})["shm"].free_inodes is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("ext4", False), ("overlay", False), ("nfs4", True), ("lustre", True), ("9p", True), ("fuse.juicefs", True),
     ("fuse.lxcfs", False), ("fuseblk", None), ("fuse.unheard-of", None)],
)  # fmt: skip
def test_the_kind_tells_whether_others_see_the_same_files(kind: str, expected: bool | None):
    found = shared(kind)
    assert found is expected if expected is not None else isinstance(found, Missing)
