from __future__ import annotations

from typing import Any

import pytest

from diag.facts.record import Missing
from tests.probes.recorded import read, silent
from tests.probes.vendors.printed import eight_metax, synthetic


def gpus(*capabilities: str) -> dict[str, Any]:
    rows = [
        {"index": index, "why": {}, "name": f"card {index}", "uuid": f"GPU-{index}", "compute_capability": each}
        for index, each in enumerate(capabilities)
    ]
    return {"why": {}, "gpus": rows}


def view(*capabilities: str, **more: Any) -> Any:
    count = len(capabilities)
    seen = {
        "torch": "2.8.0+cu128", "cuda": "12.8", "hip": None, "count": count, "why_not": "",
        "indices": list(range(count)), "architectures": ["sm_80", "sm_90"], "types": ["bfloat16", "float8_e4m3fn"],
        "nccl": "2.27.3", "libcuda": 12080,
    }  # fmt: skip
    return read("torch_view", torch={**seen, **more}, gpus=gpus(*capabilities))


def test_torch_sees_its_devices_in_its_own_order():
    found = view("9.0", "9.0", indices=[1, 0])
    assert (found.available, found.devices, found.uuids) == (True, ("card 1", "card 0"), ("GPU-1", "GPU-0"))
    assert (found.version, found.built_for, found.nccl, found.libcuda) == ("2.8.0+cu128", "cuda 12.8", "2.27.3", "12.8")


@pytest.mark.parametrize(
    ("capabilities", "bf16", "fp8"),
    [(("9.0",), True, True), (("8.9", "8.6"), True, False), (("7.5",), False, False), ((), None, None)],
)
def test_number_formats_need_torch_and_every_gpu(capabilities: tuple[str, ...], bf16: bool | None, fp8: bool | None):
    found = view(*capabilities)
    assert (found.bf16, found.fp8) == (bf16, fp8)
    assert view(*capabilities, types=[]).bf16 is False


def test_a_torch_that_does_not_say_which_devices_it_sees_is_not_guessed_at():
    found = view("9.0", "9.0", indices=None)
    assert (found.devices, found.uuids, found.bf16) == (("unknown", "unknown"), (), None)


def test_why_it_sees_none_is_said_in_its_words_or_ours():
    assert view(why_not="The NVIDIA driver on your system is too old").why_not.startswith("The NVIDIA driver")
    assert view(torch="2.8.0+cpu", cuda=None).why_not == "torch 2.8.0+cpu is built for the CPU"
    assert "CUDA_VISIBLE_DEVICES" in view().why_not


CPU_BUILD = {"torch": "2.7.1+cpu", "cuda": None, "indices": None, "types": ["bfloat16"], "nccl": None, "libcuda": None}


@pytest.mark.parametrize(
    ("version", "built_for"), [("2.8.0+metax3.7.2.0", "metax"), ("2.4.1+das.opt2.dtk2504", "das"), ("2.8.0+cpu", None)]
)
def test_a_build_that_names_neither_cuda_nor_rocm_is_known_by_its_version(version: str, built_for: str | None):
    found = view(torch=version, cuda=None)
    assert found.built_for == built_for
    assert ("built for the CPU" in found.why_not) == (built_for is None)


def test_npus_that_the_extension_sees_are_available():
    found = view(**CPU_BUILD, npu={"version": "2.7.1.post2", "count": 8, "why_not": ""})
    assert (found.available, found.why_not, found.built_for) == (True, "", "torch_npu 2.7.1.post2")
    assert found.devices == ("unknown",) * 8


@pytest.mark.parametrize(
    ("npu", "why"),
    [
        (None, "torch 2.7.1+cpu without torch_npu, which NPUs of Ascend need"),
        ({"version": None, "count": 0, "why_not": "ImportError: libascend_hal.so"}, "ImportError: libascend_hal.so"),
        ({"version": "2.7.1", "count": 0, "why_not": ""}, "sees no device; ASCEND_RT_VISIBLE_DEVICES may hide them"),
    ],
)
def test_why_no_npu_is_seen_is_said_of_npus(npu: dict[str, Any] | None, why: str):
    said = {"table": {"status": 0, "stdout": synthetic("ascend/910b.txt"), "stderr": ""}}
    answers = eight_metax()["accelerators"]
    answers["vendors"][0].update(vendor="ascend", tool="npu-smi", said=said)
    seen = {**CPU_BUILD, "hip": None, "count": 0, "why_not": "", "architectures": [], "npu": npu}
    found = read("torch_view", torch=seen, gpus={"absent": True}, accelerators=answers)
    assert (found.available, found.why_not.endswith(why)) == (False, True)


def test_an_extension_for_npus_does_not_hide_why_cuda_fails():
    npu = {"version": None, "count": 0, "why_not": "ImportError: libascend_hal.so"}
    assert view("9.0", count=0, why_not="error 802", npu=npu).why_not == "error 802"


def test_a_node_without_torch_or_without_a_gpu_has_no_view():
    assert read("torch_view") is None
    assert read("torch_view", torch={"torch": None}) is None


def test_a_torch_that_hangs_is_missing():
    why = "TimeoutError: torch did not answer within 15 s"
    assert read("torch_view", torch=silent("torch", why)) == Missing(why)
