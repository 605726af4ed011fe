from __future__ import annotations

from pathlib import Path

import pytest

from tests.node.asking import ask
from tests.node.trees import plant

VERSION_PY = """\
from typing import Optional

__version__ = '2.8.0+cu128'
debug = False
cuda: Optional[str] = '12.8'
hip: Optional[str] = None
"""


def installed(path: Path | str, *names: str, root: Path = Path("/"), **env: str) -> dict[str, object]:
    """What an interpreter with ``path`` on its own has of ``names``."""
    env = {"PYTHONPATH": str(path), **env}
    return ask("packages:software", names=list(names), prefixes=["nvidia-nccl-"], env=env, root=str(root))


def test_versions_come_from_metadata_and_names_are_normalised(tmp_path: Path):
    plant(tmp_path, {
        "vllm-0.33.0.dist-info/METADATA": "Metadata-Version: 2.4\nName: vllm\nVersion: 0.33.0+cu129\n",
        "flash_attn-2.8.0.dist-info/METADATA": "Name: flash_attn\nVersion: 2.8.0\n",
        "nvidia_nccl_cu12-2.27.3.dist-info/METADATA": "Name: nvidia-nccl-cu12\nVersion: 2.27.3\n",
        "lmdeploy-0.18.0-py3.10.egg-info": "Name: lmdeploy\nVersion: 0.18.0\n",
        "ray-2.60.0.dist-info/": "",
        "other-1.0.dist-info/METADATA": "Name: other\nVersion: 1.0\n",
    })  # fmt: skip
    found = installed(tmp_path, "vllm", "flash-attn", "lmdeploy", "ray")["packages"]
    assert found == {
        "vllm": "0.33.0+cu129", "flash-attn": "2.8.0", "nvidia-nccl-cu12": "2.27.3", "lmdeploy": "0.18.0",
        "ray": "2.60.0",
    }  # fmt: skip


def test_the_first_folder_of_the_path_wins(tmp_path: Path):
    for name, version in (("first", "1.0"), ("second", "2.0")):
        plant(tmp_path / name, {f"ray-{version}.dist-info/METADATA": f"Name: ray\nVersion: {version}\n"})
    assert installed(f"{tmp_path}/first:{tmp_path}/second", "ray")["packages"] == {"ray": "1.0"}


def test_torch_says_its_cuda_without_being_imported(tmp_path: Path):
    plant(tmp_path, {
        "torch-2.8.0+cu128.dist-info/METADATA": "Name: torch\nVersion: 2.8.0+cu128\n",
        "torch/__init__.py": "raise RuntimeError('imported')\n",
        "torch/version.py": VERSION_PY,
    })  # fmt: skip
    assert installed(tmp_path, "torch")["torch"] == {"version": "2.8.0+cu128", "cuda": "12.8", "hip": None}


def test_torch_of_this_interpreter_is_what_it_says_it_is():
    torch_version = pytest.importorskip("torch.version")
    found = ask("packages:software", names=["torch"], prefixes=[])
    assert found["torch"] == {
        "version": torch_version.__version__,
        "cuda": torch_version.cuda,
        "hip": torch_version.hip,
    }
    assert found["packages"]["torch"] == torch_version.__version__


def test_nccl_outside_of_python_is_found_through_the_loaders_cache(tmp_path: Path):
    plant(tmp_path, {
        "usr/lib/libnccl.so.2": "-> libnccl.so.2.21.5",
        "usr/lib/libnccl.so.2.21.5": "",
        "etc/ld.so.cache": "glibc-ld.so.cache1.1\0libnccl.so.2\0/usr/lib/libnccl.so.2\0libz.so\0/usr/lib/libz.so\0",
        "own/libnccl.so.2": "-> libnccl.so.2.30.1",
        "own/libnccl.so.2.30.1": "",
        "sys/module/nvidia/version": "575.57.08\n",
    })  # fmt: skip
    found = installed(tmp_path, root=tmp_path, LD_LIBRARY_PATH=str(tmp_path / "own"))
    assert found["nccl_files"] == ["libnccl.so.2.30.1", "libnccl.so.2.21.5"]
    assert found["driver"] == "575.57.08"


def test_ollama_is_asked_for_its_version_without_a_server(tmp_path: Path):
    tool = tmp_path / "ollama"
    tool.write_text('#!/bin/sh\necho "Warning: client version is 0.9.6 ($OLLAMA_HOST)"\n')
    tool.chmod(0o755)
    assert (
        installed(tmp_path, PATH=f"{tmp_path}:/usr/bin:/bin")["ollama"]
        == "Warning: client version is 0.9.6 (127.0.0.1:0)\n"
    )
