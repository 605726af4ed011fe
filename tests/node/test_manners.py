from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from diag.remote.payload import NODE_FOLDER
from tests.node.models import write_model

MIB = 1 << 20
CALLED = """
import os, subprocess, sys
sys.path.insert(0, sys.argv[1])
import modelfiles, readspeed
eval(sys.argv[2])
print(subprocess.check_output(["ionice", "-p", str(os.getpid())], text=True), end="")
"""


def io_class_after(call: str) -> str:
    argv = [sys.executable, "-B", "-W", "error", "-c", CALLED, str(NODE_FOLDER), call]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(shutil.which("ionice") is None, reason="no ionice here")
def test_what_reads_a_model_is_last_in_the_queue_of_the_disks(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    (folder / "large.bin").write_bytes(os.urandom(8 * MIB))
    assert io_class_after("None") != "idle"
    assert io_class_after(f"modelfiles.model({str(folder)!r})") == "idle"
    assert io_class_after(f"readspeed.largest({str(folder)!r})") != "idle"
    assert io_class_after(f"readspeed.measure({str(folder)!r}, {8 * MIB}, 5.0)") == "idle"
