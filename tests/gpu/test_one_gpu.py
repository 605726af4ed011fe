"""Is a real GPU of this machine measured, and are the traps around it told? ``diag run`` here; skipped without a GPU.

``DIAG_RECORD`` names a folder into which each run's files are copied.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from diag.facts.node import Node
from diag.facts.record import is_known
from diag.facts.snapshot import load
from tests.remote.agents import until

pytestmark = [
    pytest.mark.torch,
    pytest.mark.gpu,
    pytest.mark.may_skip,
    pytest.mark.alone,
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).parents[2]
HELD_GIB = 8
HOLDER = f"""
import sys, torch
held = torch.empty({HELD_GIB} << 30, dtype=torch.uint8, device="cuda").fill_(1)
torch.cuda.synchronize()
print("held", flush=True)
sys.stdin.read()
"""


class Here:
    """A run on this machine; its verdicts and the node's facts."""

    def __init__(self, out: Path, *options: str, **variables: str) -> None:
        self.out = out
        argv = [sys.executable, "-m", "diag", "run", "--out", str(out), "--json", *options]
        environment = {**os.environ, **variables}
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)

    def wait(self) -> Here:
        said, _ = self.process.communicate(timeout=500)
        self.verdicts: dict[str, Any] = json.loads(said)
        self.node: Node = load(self.out).nodes[0]
        if kept := os.environ.get("DIAG_RECORD"):
            shutil.copytree(self.out, Path(kept) / self.out.name, dirs_exist_ok=True)
        return self

    def failed(self) -> set[str]:
        return {row["check"] for row in self.verdicts["verdicts"] if row["outcome"] in ("failed", "broken")}


@contextmanager
def holder() -> Iterator[int]:
    """A process that holds memory of the GPU; its pid."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_everything_of_an_idle_gpu_is_measured_and_right(tmp_path):
    run = Here(tmp_path / "normal", "--level", "normal").wait()
    speed = run.node.speed
    assert speed.lost == ()
    assert {row.dtype for row in speed.gemms} >= {"bf16", "fp16", "fp32"}
    assert all(row.verified for row in (*speed.gemms, *speed.bandwidths, *speed.fills))
    assert all(row.exact == row.expected and row.repeated for row in speed.fingerprints)
    assert all(0 < row.context_bytes <= row.with_gemm_bytes for row in speed.contexts)
    assert any(row.during == "gemm bf16" and row.busy and row.sm_mhz for row in speed.loads)
    told = next(iter(speed.fills))
    assert 0.9 * told.told_bytes < told.allocatable_bytes <= told.told_bytes
    collectives = speed.collectives
    assert all(row.verified for row in collectives.times)
    assert {row.captured for row in collectives.times} == {False, True}
    assert is_known(collectives, "log")
    assert run.node.left_behind == ()


def test_a_gpu_that_another_process_uses_is_left_alone_and_its_pid_named(tmp_path):
    with holder() as pid:
        run = Here(tmp_path / "busy", "--level", "quick").wait()
    speed = run.node.speed if is_known(run.node, "speed") else None
    assert speed is None or not is_known(speed, "gemms")
    assert "busy: " in json.dumps(run.verdicts)
    assert str(pid) in json.dumps(run.verdicts) or f"{HELD_GIB}." in json.dumps(run.verdicts)


def test_no_visible_gpu_is_told_with_the_variable(tmp_path):
    run = Here(tmp_path / "hidden", "--level", "quick", CUDA_VISIBLE_DEVICES="").wait()
    assert "CUDA_VISIBLE_DEVICES" in json.dumps(run.verdicts)
    assert run.failed() & {"cuda_visible_devices_exist", "torch_sees_every_gpu"}


def test_a_measurement_that_is_killed_is_lost_alone(tmp_path):
    run = Here(tmp_path / "killed", "--level", "quick")
    assert until(lambda: measuring(run.process.pid), 60), "no measurement began"
    time.sleep(0.5)
    for pid in measuring(run.process.pid):
        os.kill(pid, signal.SIGKILL)
    run.wait()
    assert run.node.speed.lost, run.node.speed
    assert any(is_known(run.node.speed, topic) for topic in ("gemms", "bandwidths", "contexts"))
    assert run.verdicts["exit_status"] != 0
    assert run.node.left_behind == ()


def measuring(ancestor: int) -> list[int]:
    """Descendants that hold /dev/nvidia-uvm: NVML opens it not, CUDA does. A container may hide pids from NVML."""
    parents = {int(path.name): parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    ours = {ancestor}
    while more := {pid for pid, of in parents.items() if of in ours} - ours:
        ours |= more
    return [pid for pid in ours if "/dev/nvidia-uvm" in open_files(pid)]


def parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def open_files(pid: int) -> set[str]:
    try:
        return {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:
        return set()
