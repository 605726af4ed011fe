from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.node.asking import Refused, ask, interpreters, zipped
from tests.node.trees import H200, VIRTIO_NET, pci_device, plant

SOURCE = Path(__file__).parent.parent / "data" / "nvml" / "fake_nvml.c"
GIB = 1 << 30
Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a library that answers as two H200."""
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
    """Ask a node with two NVIDIA GPUs on its bus; keywords plant faults."""
    root = plant(tmp_path, {**pci_device("0000:1b:00.0", H200), **pci_device("0000:2b:00.0", H200)})
    code = zipped(tmp_path_factory.mktemp("zip"))

    def asked(seconds: float = 20, sample_s: float = 0.05, **planted: object) -> Any:
        env = {"LD_LIBRARY_PATH": str(library), **{name: str(value) for name, value in planted.items()}}
        return ask("gpus:gpus", code=code, env=env, root=root, seconds=seconds, sample_s=sample_s)

    return asked


def test_every_gpu_says_what_it_is_and_has(ask_gpus: Ask):
    found = ask_gpus()
    assert (found["driver"], found["cuda_driver"]) == ("575.57.08", "12.9")
    assert len(found["gpus"]) == 2
    gpu = found["gpus"][1]
    assert gpu == {
        "index": 1, "name": "NVIDIA H200", "uuid": "GPU-00000000-0000-0000-0000-000000000001",
        "pci_address": "00000000:2B:00.0", "memory": [141 * GIB, 4 << 20, 141 * GIB - (604 << 20)],
        "compute_capability": "9.0", "compute_mode": "default", "mig": False, "processes": [], "utilisation": 0.0,
        "why": {},
    }  # fmt: skip


def test_a_process_on_a_gpu_is_seen_with_its_memory_and_load(ask_gpus: Ask):
    gpu = ask_gpus(FAKE_PID=os.getpid())["gpus"][0]
    name = Path("/proc/self/comm").read_text().strip()
    assert gpu["processes"] == [{"pid": os.getpid(), "name": name, "used": 10 * GIB}]
    assert gpu["utilisation"] == 0.8


def test_an_old_driver_answers_through_older_functions(ask_gpus: Ask):
    gpu = ask_gpus(FAKE_OLD=1, FAKE_PID=1)["gpus"][0]
    assert gpu["memory"][1] == 10 * GIB + (600 << 20)
    assert [process["pid"] for process in gpu["processes"]] == [1]
    assert gpu["mig"] is False


def test_a_gpu_off_the_bus_does_not_hide_the_other(ask_gpus: Ask):
    lost, well = ask_gpus(FAKE_LOST=0)["gpus"]
    assert lost == {"index": 0, "why": {}, "lost": "GPU is lost"}
    assert well["name"] == "NVIDIA H200"


def test_what_one_field_cannot_say_is_said_of_that_field(ask_gpus: Ask):
    gpu = ask_gpus(FAKE_MIG=1)["gpus"][0]
    assert gpu["mig"] is True
    assert "utilisation" not in gpu
    assert gpu["why"] == {"utilisation": "NVML: Not Supported"}


@pytest.mark.parametrize(
    ("code", "words"), [(9, "Driver Not Loaded"), (18, "RM has detected an NVML/RM version mismatch")]
)
def test_a_library_that_refuses_is_quoted(ask_gpus: Ask, code: int, words: str):
    with pytest.raises(Refused, match=f"NVML: {words}"):
        ask_gpus(FAKE_INIT=code)


def test_a_gpu_without_its_library_is_not_an_absent_one(ask_gpus: Ask):
    with pytest.raises(Refused, match="NVML: NVML Shared Library Not Found"):
        ask_gpus(LD_LIBRARY_PATH="/nonexistent")


def test_a_driver_that_hangs_is_left_alone_in_time(ask_gpus: Ask):
    began = time.monotonic()
    with pytest.raises(Refused, match="NVML did not answer within 1 s"):
        ask_gpus(seconds=1, FAKE_HANG=1)
    assert time.monotonic() - began < 10


def test_what_a_library_prints_is_no_answer(ask_gpus: Ask):
    assert len(ask_gpus(FAKE_NOISE=1)["gpus"]) == 2


def test_without_a_gpu_on_the_bus_or_in_dev_no_library_is_loaded(tmp_path: Path):
    root = plant(tmp_path, {**pci_device("0000:00:01.0", VIRTIO_NET), "dev/null": ""})
    env = {"LD_LIBRARY_PATH": "/nonexistent"}
    assert ask("gpus:gpus", env=env, root=root, seconds=5, sample_s=0) == {"absent": True}


def test_a_bus_that_cannot_be_read_proves_no_absence(tmp_path: Path):
    with pytest.raises(Refused):
        ask("gpus:gpus", env={"LD_LIBRARY_PATH": "/nonexistent"}, root=str(tmp_path), seconds=10, sample_s=0)


@pytest.mark.parametrize("python", interpreters())
def test_the_bindings_that_travel_work_under_every_python(
    python: str, library: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
):
    root = plant(tmp_path, pci_device("0000:1b:00.0", H200))
    env = {"LD_LIBRARY_PATH": str(library)}
    code = zipped(tmp_path_factory.mktemp("zip"))
    found = ask("gpus:gpus", python=python, code=code, env=env, root=root, seconds=20, sample_s=0)
    assert [gpu["index"] for gpu in found["gpus"]] == [0, 1]
