"""Without any accelerator: is vLLM's CPU backend planned from the RAM that was measured?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diag.engines import plan_launch
from diag.facts.device import PciDevice
from diag.facts.plan import Parameters, Plan
from diag.facts.record import Missing
from diag.planner.wanted import Wanted
from diag.units import GIB
from tests.planner.clusters import cpu_node, gpu_node, snapshot, write_model


def test_the_bundled_model_is_planned_for_this_machine_without_any_option():
    plan = plan_launch(snapshot(cpu_node("localhost", available_gib=16)), None)
    assert plan.verdict == "FITS"
    assert plan.recipe.argv == ("vllm", "serve", "Qwen/Qwen3-0.6B", "--max-model-len", "8192")
    assert plan.recipe.env == {"VLLM_CPU_KVCACHE_SPACE": "8"}  # half of what is available
    assert plan.sources["VLLM_CPU_KVCACHE_SPACE"].startswith("localhost has 16.0 GiB of RAM available, 8 CPUs")
    assert plan.memory.weights_bytes.mid == 2 * 596_049_920


def test_the_reason_is_one_line_that_says_cpu_and_how_to_plan_for_gpus():
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=16), cpu_node("n2", available_gib=32)), None)
    assert plan.reason.startswith("no accelerator on 2 nodes: vllm's CPU backend, one replica a node")
    assert "diag plan --hardware 8xH100-80GB" in plan.reason
    assert "\n" not in plan.reason


def test_whole_gib_hold_what_the_plan_says_they_hold():
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=16)), None)
    per_block = 128 * 2 * 28 * 8 * 128 * 2
    assert plan.kv.blocks == 8 * GIB // per_block
    assert plan.kv.capacity_tokens == (plan.kv.blocks - 1) * 128
    assert plan.kv.bytes_per_token * 128 == per_block
    assert plan.memory.kv_cache_bytes.low == plan.memory.kv_cache_bytes.high == 8 * GIB


def test_little_ram_shortens_the_context_with_a_flag():
    # a token takes 2 · 28 · 8 · 128 · 2 bytes = 112 KiB: 1 GiB holds 73 blocks of 128, one of them the engine's own
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=7)), None)
    assert (plan.verdict, plan.kv.blocks, plan.kv.capacity_tokens) == ("FITS", 73, 72 * 128)
    assert plan.recipe.env == {"VLLM_CPU_KVCACHE_SPACE": "1"}
    assert plan.recipe.argv[-2:] == ("--max-model-len", "8192")


def test_the_longest_context_is_what_fits_for_sure():
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=7)), None, wanted=Wanted(goal="context"))
    assert (plan.verdict, plan.parameters.max_model_len) == ("FITS", 72 * 128)
    assert "as long as fits; the model itself allows 40,960" in plan.sources["--max-model-len"]


def test_a_context_that_is_too_long_for_the_ram_is_what_does_not_fit():
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=7)), None, wanted=Wanted(context=40960))
    assert plan.verdict == "NO"
    assert "one request of 40,960 tokens takes 4.4 GiB" in plan.reason  # 40960 · 112 KiB


def test_less_ram_than_the_high_estimate_is_risky_and_less_than_the_probable_one_does_not_fit():
    verdicts = [plan_launch(snapshot(cpu_node("n1", available_gib=gib)), None).verdict for gib in (16, 5.5, 3)]
    assert verdicts == ["FITS", "RISKY", "NO"]


def test_a_longer_context_than_the_model_s_is_refused():
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=16)), None, wanted=Wanted(context=40961))
    assert (plan.verdict, plan.lever) == ("NO", "a context of at most 40,960 tokens")
    assert plan.reason == "cannot be: a context of 40,961 tokens: the model itself allows 40,960"
    assert plan_launch(snapshot(cpu_node("n1", available_gib=16)), None, wanted=Wanted(context=40960)).verdict == "FITS"


def test_what_the_user_settled_is_planned_or_refused_never_left_out():
    def planned(**pinned: Any) -> Plan:
        node = cpu_node("n1", available_gib=16)
        return plan_launch(snapshot(node), None, wanted=Wanted(pinned=Parameters(**pinned)))

    few = planned(max_num_seqs=4, tensor_parallel_size=1)
    assert few.parameters.max_num_seqs == 4
    assert few.recipe.argv[-2:] == ("--max-num-seqs", "4")
    assert few.memory.activation_bytes.high < planned().memory.activation_bytes.high
    two = planned(tensor_parallel_size=2)
    assert two.reason == "not known: tensor_parallel_size 2 without accelerators: planned for is 1"


def test_a_model_larger_than_the_ram_does_not_fit(tmp_path):
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=16)), write_model(tmp_path, "qwen3-32b"))
    assert plan.verdict == "NO"
    assert "weights take 61.0 GiB of 16.0 GiB of RAM" in plan.reason
    assert plan.recipe.argv == ()


def test_a_cgroup_s_limit_counts_where_it_is_lower():
    memory = {"cgroup_limit_bytes": 12 * GIB, "cgroup_used_bytes": 2 * GIB}
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=64, **memory)), None)
    assert plan.recipe.env == {"VLLM_CPU_KVCACHE_SPACE": "4"}  # of 10: weights 1.1, sampling 0.7, processes up to 4
    assert "10.0 GiB of RAM available under its cgroup's limit" in plan.sources["kv_cache_bytes"]


def test_one_numa_node_s_memory_counts_where_it_was_measured():
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=64, numa_available_bytes=(30 * GIB, 14 * GIB))), None)
    assert plan.verdict == "FITS"
    assert plan.recipe.env == {"VLLM_CPU_KVCACHE_SPACE": "7"}


def test_several_numa_nodes_whose_shares_were_not_measured_are_a_risk():
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=64, numa_nodes=2)), None)
    assert plan.verdict == "RISKY"
    assert "an equal share: not measured" in plan.sources["kv_cache_bytes"]


def test_the_node_with_the_least_ram_decides():
    plan = plan_launch(snapshot(cpu_node("n1", available_gib=64), cpu_node("n2", available_gib=16)), None)
    assert plan.sources["kv_cache_bytes"].startswith("n2 has 16.0 GiB")


def test_ram_that_was_not_measured_is_not_known():
    node = msgspec.structs.replace(cpu_node("n1", available_gib=16), memory=Missing("no answer within 8 s"))
    plan = plan_launch(snapshot(node), None)
    assert (plan.verdict, plan.reason) == ("UNKNOWN", "not known: RAM and cores of n1: no answer within 8 s")


GPU_ON_THE_BUS = PciDevice(
    kind="accelerator", vendor="nvidia", address="0000:3b:00.0", vendor_id="10de", device_id="2330", driver=None
)


@pytest.mark.parametrize("gpus", [(), Missing("NVML: driver not loaded")])
def test_a_gpu_on_the_bus_that_cannot_be_read_is_not_taken_for_absent(gpus):
    blind = gpu_node("gpu01", free_gib=(), gpus=gpus, devices=(GPU_ON_THE_BUS,))
    plan = plan_launch(snapshot(blind, cpu_node("n2", available_gib=16)), None)
    assert plan.verdict == "UNKNOWN"
    assert "gpu01: GPUs on the bus" in plan.reason


def test_an_unreached_node_does_not_hide_that_the_others_have_no_accelerator():
    unreached = gpu_node("n2", free_gib=(), gpus=Missing("no SSH connection"), devices=Missing("no SSH connection"))
    assert plan_launch(snapshot(cpu_node("n1", available_gib=16), unreached), None).verdict == "FITS"
    plan = plan_launch(snapshot(unreached), None)
    assert plan.reason == "not known: accelerators: n2: GPUs not measured: no SSH connection"
