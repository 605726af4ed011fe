from __future__ import annotations

from pathlib import Path

from tests.node.asking import ask
from tests.node.trees import plant


def test_marker_files_and_cgroups_are_signs(tmp_path: Path):
    tree = {
        ".dockerenv": "",
        "proc/self/cgroup": "0::/docker/abc\n",
        "proc/self/ns/mnt": "-> mnt:[4026532999]",
        "proc/self/ns/pid": "-> pid:[4026533000]",
        "proc/1/environ": "PATH=/bin\0container=podman\0SECRET=x\0",
    }
    found = ask("containers:signs", root=plant(tmp_path, tree))
    assert found["files"] == ["/.dockerenv"]
    assert found["cgroup"] == "0::/docker/abc"
    assert found["mount_namespace"] == "mnt:[4026532999]"
    assert found["pid_namespace"] == "pid:[4026533000]"
    assert found["init_variable"] == "podman"
    assert "SECRET" not in str(found)


def test_variables_are_signs():
    found = ask("containers:signs", env={"container": "lxc", "KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert (found["variable"], found["kubernetes"]) == ("lxc", True)


def test_rdma_devices_and_the_verbs_library_are_looked_for(tmp_path: Path):
    tree = {"dev/infiniband/uverbs1": "", "dev/infiniband/rdma_cm": "", "dev/infiniband/uverbs0": ""}
    found = ask("containers:signs", root=plant(tmp_path, tree))
    assert (found["rdma_files"], found["verbs_library"]) == (["uverbs0", "uverbs1"], False)
    beside = plant(tmp_path / "own", {"libibverbs.so.1": ""})
    assert ask("containers:signs", root=str(tmp_path), env={"LD_LIBRARY_PATH": str(beside)})["verbs_library"] is True


def test_a_library_is_known_by_the_loaders_cache_if_it_is_there(tmp_path: Path):
    cache = "glibc-ld.so.cache1.1\0libibverbs.so.1\0/opt/lib/libibverbs.so.1\0"
    root = plant(tmp_path, {"etc/ld.so.cache": cache})
    assert ask("containers:signs", root=root)["verbs_library"] is False
    plant(tmp_path, {"opt/lib/libibverbs.so.1": ""})
    assert ask("containers:signs", root=root)["verbs_library"] is True
