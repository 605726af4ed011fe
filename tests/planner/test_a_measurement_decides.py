"""Two Snapshots that differ in one fact: does what should change, and nothing else, and does the plan cite the fact?"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from diag.engines import plan_launch, vllm
from diag.facts.plan import Parameters, Plan
from diag.facts.snapshot import Snapshot
from diag.planner.wanted import Wanted
from diag.units import GIB
from tests.planner.clusters import (
    H100_USABLE,
    all_reduce,
    config,
    eight_h100,
    gpu_node,
    model_files,
    read_speed,
    snapshot,
    with_process,
    write_model,
)

PAIR = ("gpu01", "gpu02")


@pytest.fixture
def qwen3_32b(tmp_path):
    return write_model(tmp_path, "qwen3-32b")


def changed(one: Plan, other: Plan) -> set[str]:
    """Names of the parameters that differ."""
    before, after = one.parameters, other.parameters
    return {name for name in before.__struct_fields__ if getattr(before, name) != getattr(after, name)}


def linked(busbw: float, *names: str) -> Snapshot:
    return snapshot(*(eight_h100(name) for name in names or PAIR), collective=all_reduce(PAIR, busbw))


# -- 10 GiB less free on one GPU


def test_10_gib_less_on_one_gpu_lower_the_share_and_the_kv_cache_and_nothing_else(qwen3_32b):
    whole = plan_launch(snapshot(eight_h100()), qwen3_32b)
    tight = plan_launch(snapshot(with_process(eight_h100(), 5, 69.0, pid=4121, name="train.py")), qwen3_32b)
    assert changed(whole, tight) == {"gpu_memory_utilization"}
    rules = vllm.rules("0.33")
    at_start = 69 * GIB - rules.context.high - rules.communicator.high
    share = math.floor(at_start / H100_USABLE * 100) / 100
    assert tight.parameters.gpu_memory_utilization == share
    # the KV cache loses what the share loses; weights and overheads stay
    lost = math.ceil(H100_USABLE * 0.92) - math.ceil(H100_USABLE * share)
    assert whole.memory.kv_cache_bytes.mid - tight.memory.kv_cache_bytes.mid == lost
    for term in ("weights_bytes", "activation_bytes", "cuda_graph_bytes", "non_torch_bytes"):
        assert getattr(whole.memory, term) == getattr(tight.memory, term)
    assert whole.kv.blocks - tight.kv.blocks == pytest.approx(lost / (16 * 131072), abs=1)  # 128 KiB a token
    cited = "gpu01:5 has 69.0 GiB of 79.6 GiB free (pid 4121, train.py)"
    assert tight.sources["--gpu-memory-utilization"] == cited
    assert cited in tight.sources["gpu_memory_utilization"]


def test_10_gib_less_on_one_gpu_take_more_ranks_where_the_model_was_tight(tmp_path):
    model = write_model(tmp_path, "llama-8b")
    card: dict[str, Any] = {"total": 40 * GIB, "kind": "NVIDIA A100-SXM4-40GB"}
    whole = plan_launch(snapshot(gpu_node("gpu01", free_gib=(39.4, 39.4), **card)), model)
    tight = plan_launch(snapshot(gpu_node("gpu01", free_gib=(39.4, 29.4), **card)), model)
    # 15.0 GiB of weights on one GPU: of 36 (92 %) about 20 are left, more than the weights; of 28 only 12
    assert (whole.parameters.tensor_parallel_size, whole.parameters.data_parallel_size) == (1, 2)
    assert tight.parameters.tensor_parallel_size * tight.parameters.pipeline_parallel_size == 2
    assert (whole.verdict, tight.verdict) == ("FITS", "FITS")
    alone = next(one for one in tight.discarded if one.parameters.data_parallel_size == 2)
    assert alone.reason == "its KV cache is smaller than its weights"
    assert alone.memory.kv_cache_bytes.mid < alone.memory.weights_bytes.mid
    assert "gpu01:1 has 29.4 GiB of 40.0 GiB free" in tight.sources["gpu_memory_utilization"]


# -- a slow link between the nodes


def test_a_slow_link_changes_the_cost_of_crossing_it_and_nothing_that_stays_inside(qwen3_32b):
    fast, slow = plan_launch(linked(180e9), qwen3_32b), plan_launch(linked(1.2e9), qwen3_32b)
    assert changed(fast, slow) == set()
    assert fast.recipe == slow.recipe
    assert (fast.sources["nodes"], slow.sources["nodes"]) == (
        "busbw 180.0 GB/s between 2 nodes over bond0 (nccl, 64.0 MiB)",
        "busbw 1.2 GB/s between 2 nodes over bond0 (nccl, 64.0 MiB)",
    )
    crossing = [
        next(one for one in plan.discarded if one.parameters.tensor_parallel_size == 16) for plan in (fast, slow)
    ]
    # 2 · 64 · 5120 · 2 bytes · 2 · 15/16 = 2,457,600 bytes: 13.7 µs at 180 GB/s, 2.0 ms at 1.2
    assert [one.reason.partition("every rank, ")[2] for one in crossing] == [
        "at least 14 µs of each decoded token",
        "at least 2.0 ms of each decoded token",
    ]
    assert [one.kv for one in crossing[:1]] == [one.kv for one in crossing[1:]]


def test_a_pipeline_over_the_link_and_a_split_that_is_pinned_across_it_cite_what_was_measured(tmp_path, qwen3_32b):
    (tmp_path / "405b").mkdir()
    large = write_model(tmp_path / "405b", "llama-405b")
    for busbw, told in ((180e9, "busbw 180.0 GB/s"), (1.2e9, "busbw 1.2 GB/s")):
        pipeline = plan_launch(linked(busbw), large)
        assert (pipeline.parameters.tensor_parallel_size, pipeline.parameters.pipeline_parallel_size) == (8, 2)
        assert told in pipeline.sources["--pipeline-parallel-size"]
        pinned = Wanted(pinned=Parameters(tensor_parallel_size=16))
        crossing = plan_launch(linked(busbw), qwen3_32b, wanted=pinned)
        assert any(note.startswith(f"crosses nodes: {told}") for note in crossing.notes)


# -- a GPU, a node missing


def test_a_gpu_that_is_missing_leaves_three_pairs_and_one_idle(qwen3_32b):
    whole = plan_launch(snapshot(eight_h100()), qwen3_32b)
    seven = plan_launch(snapshot(gpu_node("gpu01", free_gib=(79.0,) * 7)), qwen3_32b)
    refused = next(one for one in seven.discarded if one.parameters.tensor_parallel_size == 7)
    assert (refused.verdict, refused.reason) == (None, "64 attention heads do not divide by tensor parallel 7")
    assert (whole.parameters.tensor_parallel_size, whole.parameters.data_parallel_size) == (2, 4)
    assert (seven.parameters.tensor_parallel_size, seven.parameters.data_parallel_size) == (2, 3)
    assert "1 of 7 GPUs of each node stay idle" in seven.notes
    assert seven.parameters.gpu_memory_utilization == whole.parameters.gpu_memory_utilization


def test_a_busy_node_is_left_out_where_the_others_fit_without_it(qwen3_32b):
    idle = tuple(eight_h100(f"gpu0{number}") for number in (2, 3, 4))
    plan = plan_launch(snapshot(eight_h100("gpu01", free=2.0), *idle), qwen3_32b)
    assert plan.verdict == "FITS"
    assert "12 replicas on 3 nodes" in plan.reason
    assert "left out: gpu01: gpu01:0 has 2.0 GiB of 79.6 GiB free" in plan.notes


def test_a_node_with_two_gpus_is_left_out_where_the_model_needs_eight(tmp_path):
    model = write_model(tmp_path, "llama-70b")
    nodes = (gpu_node("gpu01", free_gib=(60.0,)), eight_h100("gpu02"))
    plan = plan_launch(snapshot(*nodes), model)
    assert plan.verdict == "FITS"
    assert "on 1 node" in plan.reason
    assert "left out: gpu01: 1 GPUs, other nodes 8" in plan.notes


def test_a_node_that_is_a_little_fuller_stays(qwen3_32b):
    nodes = (eight_h100("gpu01", free=69.0), *(eight_h100(f"gpu0{number}") for number in (2, 3, 4)))
    plan = plan_launch(snapshot(*nodes), qwen3_32b)
    assert "16 replicas on 4 nodes" in plan.reason
    assert "gpu01:0 has 69.0 GiB" in plan.sources["--gpu-memory-utilization"]


def test_a_gpu_that_is_missing_on_one_of_two_nodes_is_said(qwen3_32b):
    nodes = (eight_h100("gpu01"), gpu_node("gpu02", free_gib=(79.0,) * 7))
    plan = plan_launch(snapshot(*nodes), qwen3_32b)
    assert plan.sources["left_out"] == "GPUs beyond 7 a node: nodes have 7 to 8"


def test_a_node_that_is_missing_takes_its_replicas_along(qwen3_32b):
    both, one = plan_launch(linked(180e9), qwen3_32b), plan_launch(linked(180e9, "gpu01"), qwen3_32b)
    assert changed(both, one) == set()
    assert both.recipe == one.recipe
    assert ("8 replicas on 2 nodes" in both.reason, "4 replicas on 1 node" in one.reason) == (True, True)
    assert (both.memory, both.kv) == (one.memory, one.kv)


def test_a_node_that_is_missing_makes_a_model_too_large(tmp_path):
    model = write_model(tmp_path, "llama-405b")
    both, one = plan_launch(linked(180e9), model), plan_launch(linked(180e9, "gpu01"), model)
    # 756 GiB: 47 on each of 16, 94 on each of 8
    assert (both.verdict, one.verdict) == ("FITS", "NO")
    assert one.lever == "16 such GPUs a replica (TP 8 × PP 2)"


# -- other facts


def test_another_read_speed_changes_the_load_time_alone():
    files = model_files(config("qwen3-32b"), parameters=32_762_123_264)
    plans = [
        plan_launch(snapshot(eight_h100(model=files, read_speed=read_speed(rate)), model_path="/models/m"), None)
        for rate in (2e9, 0.5e9)
    ]
    assert [plan.load_seconds for plan in plans] == [pytest.approx(32.8), pytest.approx(131.0)]
    sources = {name for name in plans[0].sources if plans[0].sources[name] != plans[1].sources[name]}
    assert sources == {"load_seconds"}
    fixed = [msgspec.structs.replace(plan, load_seconds=None, sources={}) for plan in plans]
    assert fixed[0] == fixed[1]


def test_another_compute_capability_decides_which_formats_run(tmp_path):
    model = write_model(tmp_path, "llama-8b")
    volta = gpu_node("gpu01", free_gib=(31.5,) * 2, total=32768 * 1024**2, kind="NVIDIA Tesla V100-SXM2-32GB")
    plan = plan_launch(snapshot(volta), model, version="0.10.0")
    assert plan.parameters.dtype == "float16"
    assert plan.recipe.argv[-2:] == ("--dtype", "float16")
    assert "compute capability 8.0" in plan.sources["--dtype"]
    ampere = plan_launch(snapshot(gpu_node("gpu01", free_gib=(79.0,) * 2)), model, version="0.10.0")
    assert ampere.parameters.dtype == "bfloat16"
    assert "--dtype" not in ampere.recipe.argv
