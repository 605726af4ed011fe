from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.node.asking import Refused, ask, zipped
from tests.node.trees import H200, VIRTIO_NET, pci_device, plant

TORCH = """
import os, sys, types, warnings
assert not any(name.endswith(".pyz") for name in sys.path), "our modules stand before torch's"
__version__ = "2.8.0+cu128"
version = types.SimpleNamespace(cuda="12.8", hip=None)
bfloat16 = float8_e4m3fn = object()
_C = types.SimpleNamespace(_cuda_getArchFlags=lambda: "sm_80 sm_90 compute_90")
def device_count():
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"
    print("a library prints")
    count = int(os.environ.get("FAKE_COUNT", "2"))
    if not count:
        warnings.warn("CUDA initialization: the driver is too old\\n(found version 11040)")
    return count
cuda = types.SimpleNamespace(device_count=device_count, is_available=lambda: True,
    nccl=types.SimpleNamespace(version=lambda: (2, 27, 3)), _get_nvml_device_index=lambda index: 1 - index)
"""


def view(folder: Path, seconds: float = 20, torch: str = TORCH, **env: str) -> Any:
    """Asked of a node with a GPU under an interpreter that has this torch, with the agent's code as it travels."""
    package = folder / "site" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(torch)
    root = plant(folder / "root", pci_device("0000:1b:00.0", H200))
    environment = {"PYTHONPATH": str(package.parent), **env}
    return ask("torch_view:view", code=zipped(folder), env=environment, root=root, seconds=seconds)


def test_torch_says_what_it_sees_and_how_it_was_built(tmp_path: Path):
    found = view(tmp_path)
    del found["libcuda"]
    assert found == {
        "torch": "2.8.0+cu128", "cuda": "12.8", "hip": None, "count": 2, "why_not": "", "indices": [1, 0],
        "architectures": ["sm_80", "sm_90", "compute_90"], "types": ["bfloat16", "float8_e4m3fn"], "nccl": "2.27.3",
        "npu": None,
    }  # fmt: skip


def test_why_it_sees_no_gpu_is_told_in_its_own_words(tmp_path: Path):
    found = view(tmp_path, FAKE_COUNT="0")
    assert (found["count"], found["why_not"]) == (0, "CUDA initialization: the driver is too old (found version 11040)")


def test_a_torch_that_cannot_be_imported_is_quoted(tmp_path: Path):
    with pytest.raises(Refused, match=r"RuntimeError: ImportError: libcudnn\.so\.9: cannot open"):
        view(tmp_path, torch="raise ImportError('libcudnn.so.9: cannot open')")


OF_ASCEND = """
import types
__version__ = "2.7.1+cpu"
version = types.SimpleNamespace(cuda=None, hip=None)
_C = types.SimpleNamespace()
cuda = types.SimpleNamespace(device_count=lambda: 0)
npu = types.SimpleNamespace(device_count=lambda: 8, is_available=lambda: True)
"""


@pytest.mark.parametrize(
    ("extension", "expected"),
    [
        (None, None),
        ("__version__ = '2.7.1.post2'", {"version": "2.7.1.post2", "count": 8, "why_not": ""}),
        (
            "raise ImportError('libascend_hal.so: cannot open shared object file')",
            {"version": None, "count": 0, "why_not": "ImportError: libascend_hal.so: cannot open shared object file"},
        ),
    ],
)
def test_npus_are_seen_through_torchs_extension(tmp_path: Path, extension: str | None, expected: object):
    if extension:
        plant(tmp_path, {"site/torch_npu/__init__.py": extension})
    found = view(tmp_path, torch=OF_ASCEND)
    assert (found["count"], found["npu"]) == (0, expected)


def test_an_import_that_hangs_is_left_alone_in_time(tmp_path: Path):
    began = time.monotonic()
    with pytest.raises(Refused, match="torch did not answer within 1 s"):
        view(tmp_path, seconds=1, torch="import time; time.sleep(60)")
    assert time.monotonic() - began < 10


def test_without_an_accelerator_torch_is_not_imported(tmp_path: Path):
    root = plant(tmp_path, {**pci_device("0000:00:01.0", VIRTIO_NET), "dev/null": ""})
    assert ask("torch_view:view", root=root, seconds=1) == {"absent": True}


def test_an_interpreter_without_torch_has_no_view(tmp_path: Path):
    root = plant(tmp_path, pci_device("0000:1b:00.0", H200))
    bare = Path(sys.base_prefix) / "bin" / "python3"
    assert ask("torch_view:view", python=str(bare), root=root, seconds=5) == {"torch": None}


def test_the_torch_that_is_here_answers(tmp_path: Path):
    pytest.importorskip("torch")
    root = plant(tmp_path, pci_device("0000:1b:00.0", H200))
    found = ask("torch_view:view", root=root, seconds=50, env={"PATH": os.defpath})
    assert found["torch"].startswith("2.")
    assert "bfloat16" in found["types"]
