from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tests.node.asking import ask
from tests.node.trees import H200, VIRTIO_NET, pci_device, plant

UNIT = "LoadState=loaded\nActiveState=active\n"


def tools(folder: Path, seconds: float = 5, **scripts: str) -> Any:
    """Asked of a node with a GPU whose PATH holds these scripts and nothing else."""
    places = folder / "bin"
    places.mkdir()
    for name, script in scripts.items():
        path = places / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    root = plant(folder / "root", pci_device("0000:1b:00.0", H200))
    return ask("gpu_tools:tools", env={"PATH": str(places)}, root=root, seconds=seconds)


def test_what_is_installed_is_run_and_what_is_not_is_none(tmp_path: Path):
    found = tools(tmp_path, nvidia_container_cli='echo "cli-version: 1.17.8 $1"', dcgmi='echo "$*"; exit 3')
    assert found["container_toolkit"] == {"status": 0, "stdout": "cli-version: 1.17.8 --version\n", "stderr": ""}
    assert found["dcgm"] == {"status": 3, "stdout": "health -c -j\n", "stderr": ""}
    assert found["container_runtime"] is None


def test_a_tool_that_hangs_does_not_hide_the_others(tmp_path: Path):
    began = time.monotonic()
    found = tools(tmp_path, seconds=0.5, nvidia_container_cli="exec /bin/sleep 60", dcgmi="echo healthy")
    assert "was still running" in found["container_toolkit"]
    assert found["dcgm"]["stdout"] == "healthy\n"
    assert time.monotonic() - began < 10


def test_without_an_nvidia_gpu_no_tool_is_started(tmp_path: Path):
    root = plant(tmp_path, {**pci_device("0000:00:01.0", VIRTIO_NET), "dev/null": ""})
    assert ask("gpu_tools:tools", env={"PATH": os.defpath}, root=root, seconds=1) == {"absent": True}
