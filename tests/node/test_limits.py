from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from diag.remote.payload import NODE_FOLDER
from tests.node.asking import ask


def test_limits_are_those_of_the_asking_process_itself():
    said = subprocess.run(
        ["sh", "-c", f"ulimit -l 64; ulimit -n 512; {sys.executable} -B -c 'import limits; print(limits.limits())'"],
        env={"PYTHONPATH": str(NODE_FOLDER), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "'memlock': [65536, 65536]" in said
    assert "'nofile': [512, 512]" in said


def test_no_limit_is_none():
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    expected = [None if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard)]
    assert ask("limits:limits")["stack"] == expected


@pytest.mark.parametrize(
    ("capabilities", "uid_map", "said"),
    [
        ("000001ffffffffff", "         0          0 4294967295\n", True),
        ("00000000a80425fb", "         0          0 4294967295\n", False),
        ("000001ffffffffff", "         0     100000      65536\n", False),
        ("no number", "", None),
    ],
    ids=["root", "a container's root", "root of a user namespace", "unreadable"],
)
def test_only_root_of_the_machine_may_lock_beyond_the_limit(tmp_path, capabilities, uid_map, said):
    (tmp_path / "status").write_text(f"Name:\tpython3\nCapEff:\t{capabilities}\nCapBnd:\t0\n")
    (tmp_path / "uid_map").write_text(uid_map)
    assert ask("limits:may_lock_all", status=str(tmp_path / "status"), uid_map=str(tmp_path / "uid_map")) is said
