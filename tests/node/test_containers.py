from __future__ import annotations

from pathlib import Path

from tests.node.asking import ask
from tests.node.trees import plant


def test_marker_files_and_cgroups_are_signs(tmp_path: Path):
    tree = {
        ".dockerenv": "",
        "proc/self/cgroup": "0::/docker/abc\n",
        "proc/self/ns/mnt": "-> mnt:[4026532999]",
        "proc/1/environ": "PATH=/bin\0container=podman\0SECRET=x\0",
    }
    found = ask("containers:signs", root=plant(tmp_path, tree))
    assert found["files"] == ["/.dockerenv"]
    assert found["cgroup"] == "0::/docker/abc"
    assert found["mount_namespace"] == "mnt:[4026532999]"
    assert found["init_variable"] == "podman"
    assert "SECRET" not in str(found)


def test_variables_are_signs():
    found = ask("containers:signs", env={"container": "lxc", "KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert (found["variable"], found["kubernetes"]) == ("lxc", True)
