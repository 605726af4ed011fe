"""A real libnvidia-ml.so.1 to ask, compiled from tests/data/nvml, and a node that seems to have its GPUs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node.asking import ask, zipped
from tests.node.trees import H200, pci_device, plant

SOURCE = Path(__file__).parent.parent / "data" / "nvml" / "fake_nvml.c"
ADDRESSES = tuple(f"0000:{0x1B + 0x10 * index:02x}:00.0" for index in range(8))
Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a library that answers as eight H200."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("nvml")
    made = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o", made, SOURCE],
        check=True,
    )
    return folder


@pytest.fixture
def ask_gpus(library: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Ask a node with eight NVIDIA GPUs on its bus; keywords plant faults."""
    root = plant(tmp_path, {name: text for at in ADDRESSES for name, text in pci_device(at, H200).items()})
    code = zipped(tmp_path_factory.mktemp("zip"))

    def asked(seconds: float = 20, sample_s: float = 0, **planted: object) -> Any:
        env = {"LD_LIBRARY_PATH": str(library), **{name: str(value) for name, value in planted.items()}}
        return ask("gpus:gpus", code=code, env=env, root=root, seconds=seconds, sample_s=sample_s)

    return asked
