"""Is what a container can be given found where it lies?"""

from __future__ import annotations

import os
from pathlib import Path

from tests.node.asking import ask
from tests.node.trees import plant


def test_device_files_drivers_and_specifications_are_found(tmp_path: Path):
    tree = {
        "dev/kfd": "", "dev/dri/renderD128": "", "dev/infiniband/uverbs0": "", "dev/davinci0": "", "dev/null": "",
        "dev/davinci_manager": "", "usr/local/dcmi/x": "", "proc/sys/fs/nr_open": "1024\n",
        "etc/cdi/nvidia.yaml": "cdiVersion: 0.5.0\ndevices: []\nkind: nvidia.com/gpu\n",
        "var/run/cdi/amd.json": '{"cdiVersion": "0.6.0", "kind": "amd.com/gpu"}',
    }  # fmt: skip
    found = ask("containables:containables", root=f"{plant(tmp_path, tree)}/")
    assert found["devices"] == ["/dev/davinci0", "/dev/davinci_manager", "/dev/dri", "/dev/infiniband", "/dev/kfd"]
    assert found["drivers"] == ["/usr/local/dcmi"]
    assert found["cdi"] == ["amd.com/gpu", "nvidia.com/gpu"]
    assert found["most_open"] == 1024
    assert found["nvidia"] is False
    assert found["root"] is (os.getuid() == 0)


def test_nvidia_is_told_by_its_driver_and_its_tools_by_the_path(tmp_path: Path):
    tool = tmp_path / "nvidia-container-runtime-hook"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    root = plant(tmp_path / "root", {"proc/driver/nvidia/version": "NVRM"})
    found = ask("containables:containables", root=f"{root}/", env={"PATH": str(tmp_path)})
    assert found["nvidia"] is True
    assert found["tools"] == ["nvidia-container-runtime-hook"]


def test_a_models_links_into_another_folder_bring_that_folder(tmp_path: Path):
    """As a cache of Hugging Face keeps them, seen through a link in the path."""
    blobs, snapshot = tmp_path / "hub/blobs", tmp_path / "hub/snapshots/abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (blobs / "5c1f").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/5c1f")
    (snapshot / "own.txt").write_text("x")
    (snapshot / "also.txt").symlink_to("own.txt")
    found = ask("containables:containables", model=str(snapshot))
    assert found["folders"] == [[str(snapshot), str(snapshot)], [str(blobs), str(blobs)]]
    (tmp_path / "short").symlink_to(snapshot)
    linked = ask("containables:containables", model=str(tmp_path / "short"))
    assert linked["folders"][1] == [str(blobs), os.path.normpath(tmp_path / "short/../../blobs")]


def test_a_model_that_is_a_file_or_is_not_there(tmp_path: Path):
    (tmp_path / "m.gguf").write_text("x")
    path = str(tmp_path / "m.gguf")
    assert ask("containables:containables", model=path)["folders"] == [[path, path]]
    assert ask("containables:containables", model=path + "x")["folders"] == []
