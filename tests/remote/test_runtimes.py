"""Is what docker, nerdctl and podman are told what each of them understands?"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from diag.inventory import Host
from diag.remote import runtimes
from diag.remote.runtimes import RUNTIMES, Containables

IMAGE = Host(name="gpu01", image="vllm/vllm-openai:v0.11.0", env=(("NCCL_DEBUG", "WARN"),))


class Agent(NamedTuple):
    token: str
    pid: int


def there(**fields: Any) -> Containables:
    plain = {"devices": (), "groups": (), "nvidia": False, "tools": (), "cdi": (), "root": True, "most_open": 1 << 30}
    return Containables(**{**plain, **fields})


def told(runtime: str, **fields: Any) -> tuple[str, tuple[str, ...]]:
    argv, without = runtimes.started(runtimes.runtime(runtime), IMAGE, Agent("abc", 7), there(**fields), "python3")
    return " ".join(argv), without


@pytest.mark.parametrize("runtime", [one.name for one in RUNTIMES])
def test_a_container_is_of_the_hosts_network_labelled_and_never_pulled(runtime):
    line, without = told(runtime)
    assert line.startswith(f"{runtime} run --rm -i --pull never --label diag.run=abc --label diag.pid=7")
    for words in ("--network host", "--ipc host", "--ulimit memlock=-1", "--ulimit nofile=1048576:1048576"):
        assert words in line
    assert line.endswith("-e DIAG_JOB=abc.inside -e NCCL_DEBUG=WARN --entrypoint python3 vllm/vllm-openai:v0.11.0")
    assert without == ()


NVIDIA = {
    ("docker", ("nvidia-container-runtime-hook",), ()): "--gpus all",
    ("docker", (), ("nvidia.com/gpu",)): "--device nvidia.com/gpu=all",
    ("nerdctl", ("nvidia-container-cli",), ()): "--gpus all",
    ("podman", ("nvidia-container-runtime-hook",), ("nvidia.com/gpu",)): "--device nvidia.com/gpu=all",
}


@pytest.mark.parametrize("case", NVIDIA)
def test_nvidias_gpus_come_by_the_toolkit_or_by_cdi(case):
    runtime, tools, cdi = case
    line, without = told(runtime, nvidia=True, devices=("/dev/nvidiactl",), tools=tools, cdi=cdi)
    assert NVIDIA[case] in line
    assert "/dev/nvidiactl" not in line
    assert without == ()


@pytest.mark.parametrize("runtime", ["docker", "podman"])
def test_gpus_that_cannot_be_handed_in_are_said(runtime):
    line, (why,) = told(runtime, nvidia=True, devices=("/dev/nvidiactl",))
    assert "gpu" not in line.replace("vllm", "")
    assert why.startswith("NVIDIA GPUs: no ")


def test_device_files_of_other_vendors_and_of_rdma_are_handed_in_with_their_groups():
    line, _ = told("docker", devices=("/dev/dri", "/dev/infiniband", "/dev/kfd"), groups=(44, 110))
    for words in ("--device /dev/dri", "--device /dev/infiniband", "--device /dev/kfd", "--group-add 44"):
        assert words in line
    metax, _ = told("docker", devices=("/dev/dri", "/dev/mxcd"))
    assert "--device /dev/dri --device /dev/mxcd" in metax


def test_a_display_is_no_accelerator():
    assert "/dev/dri" not in told("docker", devices=("/dev/dri",))[0]


def test_a_user_without_root_gets_the_limits_and_groups_that_it_has():
    line, _ = told("podman", root=False, devices=("/dev/kfd",), groups=(44,))
    assert "--ulimit host" in line
    assert "memlock" not in line
    assert "--group-add keep-groups" in line


def test_limits_may_be_left_as_they_are_and_never_exceed_the_kernels():
    one = runtimes.runtime("docker")
    argv, _ = runtimes.started(one, IMAGE, Agent("abc", 7), there(), "python3", raised=False)
    assert "--ulimit" not in argv
    assert "nofile=2048:2048" in told("docker", most_open=2048)[0]


def test_folders_are_mounted_read_only_where_they_lie():
    line, _ = told("docker", folders=(("/hf/blobs", "/models/blobs"), ("/a,b", "/a,b")), drivers=("/usr/local/dcmi",))
    assert "--mount type=bind,source=/hf/blobs,target=/models/blobs,readonly" in line
    assert "--mount type=bind,source=/usr/local/dcmi,target=/usr/local/dcmi,readonly" in line
    assert '--mount type=bind,"source=/a,b","target=/a,b",readonly' in line


def test_a_container_is_entered_with_the_mark_and_the_inventorys_environment():
    host = Host(name="gpu01", container="vllm", env=(("A", "b c"),))
    argv = runtimes.entered(runtimes.runtime("nerdctl"), host, "abc")
    assert argv == ("nerdctl", "exec", "-i", "-e", "DIAG_JOB=abc.inside", "-e", "A=b c", "vllm")
    assert runtimes.shown(argv) == ("nerdctl", "exec", "-i", "-e", "DIAG_JOB", "-e", "A", "vllm")
