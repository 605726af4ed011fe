from __future__ import annotations

from typing import Any

import pytest

from diag.facts.record import Missing, peek
from diag.facts.software import Package, Process, Setting
from tests.probes.recorded import answers, read


def software(**changed: Any) -> Any:
    return read("software", software={**answers()["software"].value, **changed})


def test_engines_that_are_not_installed_are_said_to_be_absent():
    found = software()
    assert Package(name="vllm", version=None) in found.packages
    assert (found.torch, found.cuda, found.nccl, found.ollama, found.driver) == ("2.13.0+cpu", None, None, None, None)


def test_nccl_of_a_wheel_goes_before_that_of_the_system():
    system = ["libnccl.so.2.21.5"]
    assert software(nccl_files=system).nccl == "2.21.5"
    assert software(nccl_files=system, packages={"nvidia-nccl-cu12": "2.27.3"}).nccl == "2.27.3"
    assert software(nccl_files=["libnccl.so.2"]).nccl is None


@pytest.mark.parametrize(
    ("packages", "torch", "cuda"),
    [
        ({"torch": "2.8.0"}, {"version": "2.8.0+cu128", "cuda": "12.8", "hip": None}, "12.8"),
        ({"torch": "2.8.0+cu128"}, None, "12.8"),
        ({"torch": "2.8.0+cu130"}, None, "13.0"),
        ({"torch": "2.8.0", "nvidia-cuda-runtime-cu12": "12.8.90"}, None, "12.8"),
        ({"torch": "2.13.0+cpu", "nvidia-cuda-runtime-cu12": "12.8.90"}, None, None),
        ({"nvidia-cuda-runtime-cu12": "12.8.90"}, None, None),
    ],
)
def test_cuda_is_what_torch_was_built_for(packages: dict[str, str], torch: dict[str, Any] | None, cuda: str | None):
    assert software(packages=packages, torch=torch).cuda == cuda


def test_a_build_for_rocm_is_told_by_torchs_own_files():
    torch = {"version": "2.9.0a0+git1c57644", "cuda": None, "hip": "7.0.51831"}
    assert (software(torch=torch).hip, software(torch=torch).cuda) == ("7.0.51831", None)
    assert software(packages={}, torch=None).hip is None
    assert peek(software(packages={"torch": "2.8.0"}, torch=None), "hip") == Missing(
        "torch's version.py cannot be read"
    )


def test_a_torch_without_metadata_is_still_a_torch():
    assert software(packages={}, torch={"version": "2.7.0a0+git", "cuda": "12.6", "hip": None}).torch == "2.7.0a0+git"


def test_ollamas_version_is_read_out_of_its_sentence():
    said = "Warning: could not connect to a running Ollama instance\nWarning: client version is 0.9.6\n"
    assert software(ollama=said).ollama == "0.9.6"
    assert software(ollama="ollama version is 0.9.6\n").ollama == "0.9.6"


def test_settings_keep_their_source():
    assert read("settings") == (Setting(name="NCCL_DEBUG", value="WARN", source="environment"),)


def test_a_settings_file_that_was_not_read_is_not_known():
    rows = [["NCCL_DEBUG", "INFO", "environment"], ["", "/etc/nccl.conf cannot be read", "/etc/nccl.conf"]]
    known, closed = read("settings", settings=rows)
    assert known.value == "INFO"
    assert (closed.name, peek(closed, "value")) == ("", Missing("/etc/nccl.conf cannot be read"))


def test_processes_are_in_the_order_of_their_pids():
    rows = [
        {"pid": 90, "kind": "ray", "name": "raylet", "user": "ray", "age_s": 3.5},
        {"pid": 7, "kind": "vllm", "name": "vllm", "user": None, "age_s": None},
    ]
    assert read("processes", processes=rows) == (
        Process(pid=7, kind="vllm", name="vllm"),
        Process(pid=90, kind="ray", name="raylet", user="ray", started_s_ago=3.5),
    )
