from __future__ import annotations

import resource
import subprocess
import sys

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
