"""Is every way to launch looked at, and is the best for the goal chosen, within what the user settled?"""

from __future__ import annotations

from typing import Any

import pytest

from diag.engines import plan_launch
from diag.facts.plan import Discarded, Parameters, Plan
from diag.planner.wanted import Wanted
from diag.units import GIB
from tests.planner.clusters import UNNAMED, eight_h100, gpu_node, snapshot, write_model

RANK = {"FITS": 3, "RISKY": 2, "NO": 1, None: 0}
ONE_NODE = snapshot(eight_h100())
ONE_H100 = snapshot(gpu_node("gpu01", free_gib=(79.0,)))


@pytest.fixture
def qwen3_32b(tmp_path):
    return write_model(tmp_path, "qwen3-32b")


@pytest.fixture
def moe(tmp_path):
    return write_model(tmp_path, "qwen3-30b-a3b")


def ranks(found: Parameters) -> tuple[int | None, int | None]:
    return found.tensor_parallel_size, found.pipeline_parallel_size


def layout(found: Parameters) -> tuple[int | None, int | None, int | None, bool | None]:
    return (*ranks(found), found.data_parallel_size, found.expert_parallel)


def other_layouts(plan: Plan) -> list[Discarded]:
    """Without the chosen layout's own alternatives: another KV dtype, another checkpoint, more requests."""
    return [one for one in plan.discarded if layout(one.parameters) != layout(plan.parameters)]


def settled(model: str, **pinned: Any) -> Plan:
    return plan_launch(ONE_NODE, model, wanted=Wanted(pinned=Parameters(**pinned)))


# -- all are looked at


def test_every_layout_inside_a_node_is_chosen_or_discarded_with_a_reason(qwen3_32b):
    plan = plan_launch(ONE_NODE, qwen3_32b)
    others = [ranks(one.parameters) for one in other_layouts(plan)]
    assert len(others) == len(set(others))
    assert {ranks(plan.parameters), *others} == {(t, p) for t in (1, 2, 4, 8) for p in (1, 2, 4, 8) if t * p <= 8}
    assert all(one.reason for one in plan.discarded)


def test_experts_may_be_shared_by_replicas_of_the_attention_divided_or_whole(moe):
    found = {layout(one.parameters) for one in plan_launch(ONE_NODE, moe).discarded}
    assert {(8, 1, 1, True), (4, 1, 2, False), (4, 1, 2, True), (1, 1, 8, True)} <= found


def test_heads_that_do_not_divide_are_a_reason(tmp_path):
    node = gpu_node("gpu01", free_gib=(79.0,) * 6)
    plan = plan_launch(snapshot(node), write_model(tmp_path, "llama-70b"))
    reasons = {ranks(one.parameters): (one.verdict, one.reason) for one in plan.discarded}
    assert reasons[3, 1] == (None, "64 attention heads do not divide by tensor parallel 3")
    assert reasons[6, 1] == (None, "64 attention heads do not divide by tensor parallel 6")


def test_over_nodes_there_are_pipelines_of_whole_nodes_and_tensor_parallel_over_all(qwen3_32b):
    nodes = [eight_h100(f"gpu0{number}") for number in (1, 2, 3)]
    found = {ranks(one.parameters) for one in plan_launch(snapshot(*nodes), qwen3_32b).discarded}
    assert {(8, 2), (4, 4), (1, 16), (8, 3), (16, 1), (24, 1)} <= found


def test_of_128_gpus_everything_is_discarded_with_a_reason_but_one(tmp_path):
    nodes = [eight_h100(f"gpu{number:02d}") for number in range(16)]
    model = write_model(
        tmp_path, "qwen3-30b-a3b", num_hidden_layers=94, hidden_size=4096, num_attention_heads=64,
        moe_intermediate_size=1536,
    )  # fmt: skip
    plan = plan_launch(snapshot(*nodes), model)
    # 94 · 128 experts · 3 · 4096 · 1536 in bf16 and the rest: 438 GiB, 55 a GPU of 8, 109 of 4
    assert (plan.verdict, ranks(plan.parameters)) == ("FITS", (8, 1))
    assert "16 replicas on 16 nodes" in plan.reason
    others = other_layouts(plan)
    # for each of 2 to 16 nodes: 8, 4, 2 or 1 ranks of tensor parallelism in pipelines, and all ranks in one
    assert len(others) > 15 * 5
    assert all(one.reason for one in others)
    assert {one.verdict for one in others} == {"FITS", "RISKY", "NO", None}
    assert any(one.parameters.expert_parallel and one.parameters.data_parallel_size == 128 for one in others)


def test_what_fits_comes_before_what_does_not_and_that_before_what_cannot_be(tmp_path):
    nodes = [eight_h100(f"gpu0{number}") for number in (1, 2, 3)]
    plan = plan_launch(snapshot(*nodes), write_model(tmp_path, "llama-405b"))
    order = [RANK[one.verdict] for one in other_layouts(plan)]
    assert order == sorted(order, reverse=True)
    assert {0, 1, 3} <= set(order)


# -- the goal


def test_stable_takes_the_fewest_gpus_with_a_kv_cache_as_large_as_the_weights(qwen3_32b):
    plan = plan_launch(ONE_NODE, qwen3_32b)
    lost = {ranks(one.parameters): one.reason for one in other_layouts(plan)}
    assert ranks(plan.parameters) == (2, 1)
    assert lost[1, 1] == "its KV cache is smaller than its weights"
    assert lost[4, 1] == "4 GPUs a replica, TP 2 needs 2"


def test_latency_takes_all_gpus_of_a_node_for_one_request(qwen3_32b):
    plan = plan_launch(ONE_NODE, qwen3_32b, wanted=Wanted(goal="latency"))
    assert (ranks(plan.parameters), plan.parameters.data_parallel_size) == ((8, 1), 1)


def test_throughput_takes_as_many_requests_as_the_engine_does_and_the_most_tokens_in_all(qwen3_32b):
    plan = plan_launch(ONE_NODE, qwen3_32b, wanted=Wanted(goal="throughput"))
    assert plan.parameters.max_num_seqs == 1024
    everywhere = plan.kv.capacity_tokens * plan.parameters.data_parallel_size
    alike = [one for one in other_layouts(plan) if one.parameters.pipeline_parallel_size == 1]
    assert {one.parameters.tensor_parallel_size for one in alike} == {1, 2, 4}
    assert all(everywhere > one.kv.capacity_tokens * one.parameters.data_parallel_size for one in alike)


def test_context_gives_the_longest_request_that_the_model_or_the_cache_allows(tmp_path, qwen3_32b):
    assert plan_launch(ONE_NODE, qwen3_32b, wanted=Wanted(goal="context")).parameters.max_model_len == 40960
    (tmp_path / "8b").mkdir()
    model = write_model(tmp_path / "8b", "llama-8b")
    node = gpu_node("gpu01", free_gib=(22.0,), total=24 * GIB, kind=UNNAMED)
    plan = plan_launch(snapshot(node), model, wanted=Wanted(goal="context"))
    length = plan.parameters.max_model_len
    assert plan.verdict == "FITS"
    assert length % 256 == 0
    # 128 KiB a token: it fits for sure, 256 tokens more do not
    assert length * 131072 <= plan.memory.kv_cache_bytes.low < (length + 256 + 16) * 131072


# -- what was asked for


def test_a_context_that_was_asked_for_is_planned_whole(qwen3_32b):
    plan = plan_launch(ONE_NODE, qwen3_32b, wanted=Wanted(context=32768))
    assert (plan.verdict, plan.parameters.max_model_len) == ("FITS", 32768)
    assert plan.sources["--max-model-len"].startswith("as you set it")


def test_a_context_beyond_the_model_s_own_is_refused(qwen3_32b):
    plan = plan_launch(ONE_NODE, qwen3_32b, wanted=Wanted(context=40961))
    assert (plan.verdict, plan.lever) == ("NO", "a context of at most 40,960 tokens")
    assert plan.reason == "cannot be: a context of 40,961 tokens: the model itself allows 40,960"


@pytest.mark.parametrize(
    "pinned",
    [
        {"tensor_parallel_size": 8},
        {"pipeline_parallel_size": 2},
        {"tensor_parallel_size": 2, "pipeline_parallel_size": 4},
        {"data_parallel_size": 2},
        {"data_parallel_size": 5},
        {"gpu_memory_utilization": 0.5},
        {"max_model_len": 16384},
        {"max_num_seqs": 7},
        {"max_num_batched_tokens": 512},
        {"max_num_seqs": 100, "max_num_batched_tokens": 4096},
        {"kv_cache_dtype": "fp8"},
        {"dtype": "float16"},
        {"quantization": "fp8"},
        {"block_size": 32},
        {"enforce_eager": True},
    ],
    ids=str,
)
def test_what_is_settled_does_not_vary_and_is_in_the_command(qwen3_32b, pinned):
    plan = settled(qwen3_32b, **pinned)
    assert plan.verdict == "FITS"
    for name, value in pinned.items():
        assert getattr(plan.parameters, name) == value
        assert plan.sources[f"--{name.replace('_', '-')}"] == "as you set it"


def test_settled_expert_layouts_are_taken_as_they_are(moe):
    plan = settled(moe, data_parallel_size=8, expert_parallel=True)
    assert layout(plan.parameters) == (1, 1, 8, True)
    assert settled(moe, data_parallel_size=2).parameters.data_parallel_size == 2


@pytest.mark.parametrize(
    ("pinned", "why"),
    [
        ({"tensor_parallel_size": 3}, "64 attention heads do not divide by tensor parallel 3"),
        ({"tensor_parallel_size": 16}, "TP 16 needs 16 ranks: there are 8 GPUs"),
        ({"tensor_parallel_size": 8, "pipeline_parallel_size": 2}, "TP 8 × PP 2 needs 16 ranks: there are 8 GPUs"),
        ({"data_parallel_size": 9}, "TP 1 × DP 9 needs 9 ranks: there are 8 GPUs"),
        ({"expert_parallel": True}, "expert parallelism: this model has no routed experts"),
    ],
)
def test_a_settled_split_that_cannot_be_is_refused_with_its_numbers(qwen3_32b, pinned, why):
    plan = settled(qwen3_32b, **pinned)
    assert (plan.verdict, plan.reason) == ("NO", f"cannot be: {why}")
    assert plan.lever == "leave it to the plan: without --set TP 2 FITS"
    assert [(one.verdict, one.reason) for one in plan.discarded] == [(None, why)]
    assert plan.recipe.argv == ()


@pytest.mark.parametrize("pinned", [{"dtype": "int3"}, {"quantization": "nosuch"}, {"kv_cache_dtype": "nosuch"}])
def test_a_settled_format_that_is_not_known_is_not_guessed(qwen3_32b, pinned):
    plan = settled(qwen3_32b, **pinned)
    assert plan.verdict == "UNKNOWN"
    assert repr(next(iter(pinned.values()))) in plan.reason


def test_without_what_was_settled_the_plan_would_have_been_another(qwen3_32b):
    plan, free = settled(qwen3_32b, tensor_parallel_size=8), plan_launch(ONE_NODE, qwen3_32b)
    note = next(note for note in plan.notes if note.startswith("without --set"))
    assert note.startswith("without --set: TP 2, 4 replicas on 1 node, ")
    assert f"{4 * free.kv.capacity_tokens:,} tokens instead of {plan.kv.capacity_tokens:,}" in note


def test_a_kv_cache_in_8_bit_is_shown_not_taken(qwen3_32b):
    plan = plan_launch(ONE_NODE, qwen3_32b)
    half = next(one for one in plan.discarded if one.parameters.kv_cache_dtype == "fp8")
    assert plan.parameters.kv_cache_dtype == "auto"
    assert half.kv.bytes_per_token * 2 == plan.kv.bytes_per_token
    assert half.reason.startswith("a decision of its own, it changes answers a little")
    assert settled(qwen3_32b, kv_cache_dtype="fp8").kv.capacity_tokens == half.kv.capacity_tokens


# -- other engines


def test_lmdeploy_divides_no_layers(qwen3_32b):
    plan = plan_launch(ONE_NODE, qwen3_32b, "lmdeploy")
    refused = [one for one in plan.discarded if (one.parameters.pipeline_parallel_size or 1) > 1]
    assert {one.reason for one in refused} == {"lmdeploy 0.18 divides no layers over a pipeline"}


def test_ollama_takes_whole_layers_on_the_fewest_gpus(tmp_path):
    plan = plan_launch(ONE_NODE, write_model(tmp_path, "llama-70b"), "ollama")
    # 131.4 GiB and one request of 8192 tokens (2.5) in 80 % of what is free: 2 · 63 are too few, of 4 and 8 4 do
    assert ranks(plan.parameters) == (1, 4)
    assert {ranks(one.parameters) for one in plan.discarded} == {(1, 1), (1, 2), (1, 8)}
    assert plan.memory.weights_bytes.low == 70_553_706_496 * 2 // 4


def test_ollama_does_not_divide_a_layer(qwen3_32b):
    plan = plan_launch(ONE_NODE, qwen3_32b, "ollama", wanted=Wanted(pinned=Parameters(tensor_parallel_size=2)))
    assert plan.reason == "cannot be: ollama gives whole layers to GPUs, it does not divide them over 2"


def test_weights_that_stay_in_the_host_s_memory_leave_the_gpu(qwen3_32b):
    whole = plan_launch(ONE_H100, qwen3_32b)
    plan = plan_launch(ONE_H100, qwen3_32b, wanted=Wanted(pinned=Parameters(cpu_offload_gib=20)))
    less = whole.memory.weights_bytes.low - plan.memory.weights_bytes.low
    assert less == 20 * GIB
    assert plan.recipe.argv[-2:] == ("--cpu-offload-gb", "20")
    assert any(note.startswith("20.0 GiB of each GPU's weights stay in RAM") for note in plan.notes)


def test_only_layers_stay_in_the_host_s_memory_and_no_more_than_there_are(qwen3_32b):
    """Embedding and head, 151936 × 5120 in 16 bit each, never do."""
    plan = plan_launch(ONE_H100, qwen3_32b, wanted=Wanted(pinned=Parameters(cpu_offload_gib=100)))
    ends = 2 * 151936 * 5120 * 2
    assert ends <= plan.memory.weights_bytes.low < ends + 0.1 * GIB
    assert any("GiB of each GPU's weights, all of its layers, stay in RAM" in note for note in plan.notes)


def test_an_engine_that_offloads_nothing_is_not_asked_to(qwen3_32b):
    wanted = Wanted(pinned=Parameters(cpu_offload_gib=20))
    plan = plan_launch(ONE_H100, qwen3_32b, "lmdeploy", wanted=wanted)
    assert plan.reason == "cannot be: lmdeploy keeps no part of the weights in the host's memory"
