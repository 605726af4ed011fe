"""Does a plan follow from what was measured on the GPUs, derived here by hand?"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from diag.engines import plan_launch
from diag.facts.node import Node
from diag.facts.record import Missing
from diag.units import GIB
from tests.planner.clusters import (
    H100_TOTAL,
    MXC500_TOTAL,
    all_reduce,
    gpu_node,
    snapshot,
    with_process,
    write_model,
)


@pytest.fixture
def qwen3_32b(tmp_path):
    return write_model(tmp_path, "qwen3-32b")


@pytest.fixture
def llama_70b(tmp_path):
    return write_model(tmp_path, "llama-70b")


def eight_h100(name: str = "gpu01", free: float = 79.0, **facts: Any) -> Node:
    return gpu_node(name, free_gib=(free,) * 8, **facts)


def test_qwen3_32b_on_eight_h100_takes_two_a_replica(qwen3_32b):
    plan = plan_launch(snapshot(eight_h100()), qwen3_32b)
    # 65.5 GB of bf16 weights: on one GPU less is left than a 40,960-token request and its overheads take;
    # on two, 30.5 GiB of weights and 40 of 73.3 GiB for the KV cache, which is more than the weights.
    assert plan.verdict == "FITS"
    assert plan.parameters.tensor_parallel_size == 2
    assert plan.parameters.data_parallel_size == 4
    assert plan.parameters.max_model_len == 40960
    assert plan.memory.weights_bytes.mid == 32_762_800_128
    assert plan.kv.bytes_per_token == 2 * 64 * 4 * 128 * 2
    assert plan.recipe.argv == ("vllm", "serve", qwen3_32b, "--tensor-parallel-size", "2", "--data-parallel-size", "4")


def test_the_terms_of_a_plan_add_up_to_the_budget(qwen3_32b):
    plan = plan_launch(snapshot(eight_h100()), qwen3_32b)
    memory, budget = plan.memory, math.ceil(H100_TOTAL * plan.parameters.gpu_memory_utilization)
    others = (memory.weights_bytes, memory.activation_bytes, memory.cuda_graph_bytes, memory.non_torch_bytes)
    assert memory.kv_cache_bytes.low + sum(term.high for term in others) == budget
    assert memory.kv_cache_bytes.mid + sum(term.mid for term in others) == budget
    assert memory.kv_cache_bytes.high + sum(term.low for term in others) == budget
    assert plan.kv.blocks == memory.kv_cache_bytes.mid // (16 * plan.kv.bytes_per_token)


def test_llama_70b_in_bf16_spreads_over_all_eight_64_gib_gpus(llama_70b):
    node = gpu_node("mx01", free_gib=(63.2,) * 8, total=MXC500_TOTAL)
    plan = plan_launch(snapshot(node), llama_70b)
    assert (plan.verdict, plan.parameters.tensor_parallel_size) == ("FITS", 8)
    assert plan.memory.weights_bytes.mid == 17_640_734_720
    assert plan.kv.bytes_per_token == 40960
    assert plan.parameters.max_num_seqs == 256  # what vLLM itself takes below 70 GiB


def test_a_model_that_is_too_large_does_not_fit_because_of_its_weights(llama_70b):
    plan = plan_launch(snapshot(gpu_node("gpu01", free_gib=(79.0,))), llama_70b)
    assert plan.verdict == "NO"
    assert "weights take 134.0 GiB" in plan.reason
    assert "quantized" in plan.lever
    assert plan.recipe.argv == ()
    assert plan.parameters.max_model_len is None


def test_one_gpu_with_less_free_lowers_the_share_for_all_and_is_cited(qwen3_32b):
    whole = plan_launch(snapshot(eight_h100()), qwen3_32b)
    node = with_process(eight_h100(), 3, 69.0, pid=4121, name="nvidia-smi dmon")
    less = plan_launch(snapshot(node), qwen3_32b)
    assert whole.parameters.gpu_memory_utilization == 0.92
    assert "--gpu-memory-utilization" not in whole.recipe.argv
    assert less.parameters.gpu_memory_utilization == 0.86  # (69.0 - 0.5) / 79.65
    assert less.recipe.argv[-2:] == ("--gpu-memory-utilization", "0.86")
    assert less.sources["--gpu-memory-utilization"] == (
        "gpu01:3 has 69.0 GiB of 79.6 GiB free (pid 4121, nvidia-smi dmon)"
    )
    assert less.kv.capacity_tokens < whole.kv.capacity_tokens


def test_the_share_is_the_largest_that_is_free_at_start():
    from diag.engines import vllm  # noqa: PLC0415 - one test
    from diag.planner.accelerators import accelerators  # noqa: PLC0415 - one test
    from diag.planner.budget import budget  # noqa: PLC0415 - one test

    rules = vllm.rules("0.33")
    for free_mib in range(1000, 81000, 911):
        found = accelerators(snapshot(gpu_node("gpu01", free_gib=(free_mib / 1024,))))
        room = budget(found, rules)
        at_start = found.tightest.free_bytes - int(rules.context.high)
        assert math.ceil(H100_TOTAL * room.utilization) <= at_start
        assert room.utilization == 0.92 or H100_TOTAL * (room.utilization + 0.01) > at_start


def test_memory_that_another_process_holds_dominates_where_it_is_the_largest(llama_70b):
    node = eight_h100()
    for index in range(8):
        node = with_process(node, index, 4.0, pid=100 + index, name="python")
    plan = plan_launch(snapshot(node), llama_70b)
    assert plan.verdict == "NO"
    assert "memory held by others takes 75.6 GiB" in plan.reason
    assert plan.lever == "free gpu01:0: pid 100, python"


def test_tensor_parallel_over_nodes_is_discarded_with_the_measured_busbw(qwen3_32b):
    nodes = (eight_h100("gpu01"), eight_h100("gpu02"))
    plan = plan_launch(snapshot(*nodes, collective=all_reduce(("gpu01", "gpu02"), 1.1e9)), qwen3_32b)
    crossing = plan.discarded[0]
    assert crossing.parameters.tensor_parallel_size == 16
    assert crossing.reason == "crosses nodes: busbw 1.1 GB/s between 2 nodes over bond0 (nccl, 64.0 MiB)"
    assert plan.parameters.tensor_parallel_size == 2
    assert "8 replicas on 2 nodes" in plan.reason
    assert plan.sources["recipe"] == "once on each node"


def test_without_a_collective_the_plan_says_that_nothing_was_measured_between_nodes(qwen3_32b):
    nodes = (eight_h100("gpu01"), eight_h100("gpu02"))
    plan = plan_launch(snapshot(*nodes, collective=Missing("no torch under python3")), qwen3_32b)
    assert plan.discarded[0].reason == "crosses nodes: busbw between nodes not measured: no torch under python3"


def test_only_what_fits_inside_no_node_becomes_a_pipeline_over_nodes(tmp_path):
    model = write_model(tmp_path, "llama-405b")
    nodes = tuple(eight_h100(f"gpu0{number}") for number in (1, 2, 3, 4))
    plan = plan_launch(snapshot(*nodes, collective=all_reduce(("gpu01", "gpu02"), 40e9)), model)
    assert plan.verdict == "FITS"
    assert (plan.parameters.tensor_parallel_size, plan.parameters.pipeline_parallel_size) == (8, 2)
    assert "2 replicas on 4 nodes" in plan.reason
    argv = plan.recipe.argv
    assert argv[argv.index("--nnodes") :] == ("--nnodes", "2", "--node-rank", "0", "--master-addr", "10.0.0.1")
    assert plan.recipe.env == {"NCCL_SOCKET_IFNAME": "bond0", "GLOO_SOCKET_IFNAME": "bond0"}
    assert "--headless" in plan.sources["--node-rank"]


def test_heads_that_do_not_divide_are_a_reason(tmp_path):
    plan = plan_launch(snapshot(gpu_node("gpu01", free_gib=(79.0,) * 6)), write_model(tmp_path, "llama-70b"))
    reasons = {d.parameters.tensor_parallel_size: d.reason for d in plan.discarded}
    assert reasons[3] == "64 attention heads do not divide by 3"
    assert reasons[6] == "64 attention heads do not divide by 6"


def test_every_layout_inside_a_node_is_chosen_or_discarded_with_a_reason(qwen3_32b):
    plan = plan_launch(snapshot(eight_h100()), qwen3_32b)
    chosen = (plan.parameters.tensor_parallel_size, plan.parameters.pipeline_parallel_size)
    others = {(d.parameters.tensor_parallel_size, d.parameters.pipeline_parallel_size) for d in plan.discarded}
    assert {chosen} | others == {(t, p) for t in (1, 2, 4, 8) for p in (1, 2, 4, 8) if t * p <= 8}
    assert chosen not in others
    assert all(d.reason for d in plan.discarded)


def test_expert_models_take_the_whole_node_and_one_replica(tmp_path):
    plan = plan_launch(snapshot(eight_h100()), write_model(tmp_path, "qwen3-30b-a3b"))
    assert (plan.verdict, plan.parameters.tensor_parallel_size) == ("FITS", 8)
    assert plan.parameters.data_parallel_size == 1


def test_a_context_that_does_not_fit_is_shortened_with_a_flag(tmp_path):
    model = write_model(tmp_path, "llama-8b")
    plan = plan_launch(snapshot(gpu_node("gpu01", free_gib=(28.0,))), model)
    assert plan.verdict == "FITS"
    assert 2048 <= plan.parameters.max_model_len < 131072
    assert plan.parameters.max_model_len * plan.kv.bytes_per_token <= plan.memory.kv_cache_bytes.low
    assert "131,072" in plan.sources["--max-model-len"]


def test_a_tight_gpu_takes_fewer_sequences_before_it_shortens_the_context(tmp_path):
    model = write_model(tmp_path, "qwen3-0.6b")
    plan = plan_launch(snapshot(gpu_node("gpu01", free_gib=(13.0,))), model)
    assert plan.verdict == "FITS"
    assert plan.parameters.max_num_seqs < 1024
    assert "1024" in plan.sources["--max-num-seqs"]


def test_what_fits_only_without_bad_luck_is_risky_and_names_the_term(tmp_path):
    model = write_model(tmp_path, "llama-8b")
    plan = plan_launch(snapshot(gpu_node("gpu01", free_gib=(19.2,), total=24 * GIB)), model)
    assert plan.verdict == "RISKY"
    assert plan.lever


def test_a_context_never_exceeds_what_the_estimate_behind_the_verdict_holds(tmp_path):
    model = write_model(tmp_path, "llama-8b")
    for free in range(16, 26):
        plan = plan_launch(snapshot(gpu_node("gpu01", free_gib=(free * 0.95,), total=24 * GIB)), model)
        if plan.verdict == "FITS":
            assert plan.parameters.max_model_len * plan.kv.bytes_per_token < plan.memory.kv_cache_bytes.low
        elif plan.verdict == "RISKY" and plan.parameters.max_model_len > 2048:
            assert plan.parameters.max_model_len <= plan.kv.capacity_tokens


def test_a_thousand_nodes_are_planned_at_once(tmp_path):
    nodes = [eight_h100(f"gpu{number:04d}", free=8.0) for number in range(1000)]
    plan = plan_launch(snapshot(*nodes), write_model(tmp_path, "llama-405b"))
    assert plan.verdict != "FITS"
    assert len(plan.discarded) < 100


def test_every_gib_less_never_makes_a_plan_better(qwen3_32b):
    rank = {"FITS": 2, "RISKY": 1, "NO": 0}
    last = (2, 10**9)
    for free in range(79, 4, -5):
        plan = plan_launch(snapshot(gpu_node("gpu01", free_gib=(float(free),) * 2)), qwen3_32b)
        now = rank[plan.verdict], plan.parameters.max_model_len or 0
        assert now <= last
        last = now


def test_a_plan_survives_json_with_every_object_present(llama_70b):
    for free in (79.0, 1.0):
        plan = plan_launch(snapshot(eight_h100(free=free)), llama_70b)
        written = msgspec.json.decode(msgspec.json.encode(plan))
        assert written["memory"]["weights_bytes"].keys() == {"low", "mid", "high"}
        assert written["kv"].keys() >= {"bytes_per_token", "capacity_tokens", "printed_tokens", "blocks"}
        assert {"parameters", "recipe", "discarded", "sources", "lever", "speed"} <= written.keys()
