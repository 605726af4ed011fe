"""Do ranks get what the engine of that version sets for NCCL, and nothing of another's?"""

from __future__ import annotations

import msgspec
import pytest

from diag.engines.collective_env import of_node
from diag.facts.software import Setting
from tests.checks.machines import gpu_node

NODE = msgspec.structs.replace(gpu_node(1), settings=())


@pytest.mark.parametrize(
    ("version", "connections"), [("0.4.6.post5", "4"), ("0.5.1", "4"), ("0.5.6", "8"), ("0.5.23", "8"), ("0.6.0", "8")]
)
def test_sglang_turns_nvls_and_cumem_off(version, connections):
    found = of_node("sglang", version, NODE)
    assert found.name == f"sglang {version}"
    assert (found.variables["NCCL_NVLS_ENABLE"], found.variables["NCCL_CUMEM_ENABLE"]) == ("0", "0")
    assert found.variables["CUDA_DEVICE_MAX_CONNECTIONS"] == connections


@pytest.mark.parametrize(
    ("version", "off"), [("0.4.2", False), ("0.4.3", True), ("0.10.1.1", True), ("0.10.2", False), ("0.33.0", False)]
)
def test_vllm_turned_cumem_off_until_nccl_had_mended_it(version, off):
    assert of_node("vllm", version, NODE).variables == ({"NCCL_CUMEM_ENABLE": "0"} if off else {})


@pytest.mark.parametrize("engine", ["vllm", "lmdeploy", "ollama"])
def test_the_others_leave_nccl_to_its_defaults(engine):
    assert of_node(engine, None, NODE).variables == {}


def test_the_version_is_what_the_node_has():
    assert of_node("vllm", None, NODE).name == "vllm 0.11.0"
    assert of_node("sglang", None, NODE).name == "sglang"


@pytest.mark.parametrize(("version", "kept"), [("0.5.6", True), ("0.5.1", False)])
def test_what_the_user_set_is_left_alone_where_the_engine_does_so(version, kept):
    own = (Setting(name="NCCL_NVLS_ENABLE", value="1", source="environment"),)
    found = of_node("sglang", version, msgspec.structs.replace(NODE, settings=own))
    assert ("NCCL_NVLS_ENABLE" not in found.variables) is kept
