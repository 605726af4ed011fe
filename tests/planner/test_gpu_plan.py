"""Does a plan follow from what was measured on the GPUs, derived here by hand?"""

from __future__ import annotations

import json
import math
import re

import msgspec
import pytest

from diag.engines import plan_launch, vllm
from diag.facts.plan import Parameters, Plan
from diag.planner.wanted import Wanted
from diag.units import GIB
from tests.planner.clusters import (
    H100_USABLE,
    UNNAMED,
    all_reduce,
    eight_h100,
    eight_mxc500,
    gpu_node,
    snapshot,
    with_process,
    write_model,
)

RULES = vllm.rules("0.33")
RANK = {"FITS": 2, "RISKY": 1, "NO": 0}


@pytest.fixture
def qwen3_32b(tmp_path):
    return write_model(tmp_path, "qwen3-32b")


@pytest.fixture
def llama_70b(tmp_path):
    return write_model(tmp_path, "llama-70b")


def before_it_looks(ranks: int) -> float:
    """Bytes gone before the engine looks at what is free: its own context and, with several ranks, a communicator."""
    return RULES.context.high + (RULES.communicator.high if ranks > 1 else 0)


def order(plan: Plan) -> tuple[int, int]:
    return RANK[plan.verdict], plan.parameters.max_model_len or 0


def test_qwen3_32b_on_eight_h100_takes_two_a_replica(qwen3_32b):
    plan = plan_launch(snapshot(eight_h100()), qwen3_32b)
    # 61.0 GiB of bf16 weights. On one GPU 79.2 · 0.92 leave less than 12 GiB for the KV cache; on two 30.5 GiB of
    # weights leave about 40, which is more than the weights.
    assert plan.verdict == "FITS"
    assert plan.parameters.tensor_parallel_size == 2
    assert plan.parameters.data_parallel_size == 4
    assert plan.memory.weights_bytes.low == 32_762_800_128 + 40960 * 128 * 2  # and a table of positions
    assert plan.memory.kv_cache_bytes.low > plan.memory.weights_bytes.high
    assert plan.kv.bytes_per_token == 2 * 64 * 4 * 128 * 2


def test_a_first_start_is_modest_and_every_flag_says_why(qwen3_32b):
    plan = plan_launch(snapshot(eight_h100()), qwen3_32b)
    assert (plan.parameters.max_model_len, plan.parameters.max_num_seqs) == (8192, 64)
    assert plan.recipe.argv == (
        "vllm", "serve", qwen3_32b, "--tensor-parallel-size", "2", "--data-parallel-size", "4",
        "--max-model-len", "8192", "--max-num-seqs", "64",
    )  # fmt: skip
    assert all(plan.sources[flag] for flag in plan.recipe.argv if flag.startswith("--"))
    assert "the model itself allows 40,960" in plan.sources["--max-model-len"]
    assert "vllm by itself takes 1024" in plan.sources["--max-num-seqs"]


def test_what_throughput_would_cost_is_told(qwen3_32b):
    plan = plan_launch(snapshot(eight_h100()), qwen3_32b)
    told = next(note for note in plan.notes if note.startswith("for throughput"))
    assert "1024 requests at once, as vllm takes by itself" in told
    assert f"instead of {plan.kv.capacity_tokens:,}" in told


def test_the_terms_of_a_plan_add_up_to_the_share(qwen3_32b):
    plan = plan_launch(snapshot(eight_h100()), qwen3_32b)
    memory, budget = plan.memory, math.ceil(H100_USABLE * plan.parameters.gpu_memory_utilization)
    others = (memory.weights_bytes, memory.activation_bytes, memory.cuda_graph_bytes, memory.non_torch_bytes)
    outside = {level: getattr(RULES.context, level) + getattr(RULES.communicator, level) for level in ("low", "high")}
    # what is gone before it looks at what is free does not count in its share
    assert sum(term.high for term in others) - outside["high"] + memory.kv_cache_bytes.low == pytest.approx(budget)
    assert sum(term.low for term in others) - outside["low"] + memory.kv_cache_bytes.high == pytest.approx(budget)
    assert plan.kv.blocks == memory.kv_cache_bytes.mid // (16 * plan.kv.bytes_per_token)
    assert plan.kv.printed_tokens == 16 * plan.kv.blocks
    assert plan.kv.capacity_tokens == 16 * (plan.kv.blocks - 1)  # a block is the engine's own


def test_llama_70b_in_bf16_spreads_over_all_eight_64_gib_gpus(llama_70b):
    plan = plan_launch(snapshot(eight_mxc500()), llama_70b)
    # 131.4 GiB: on 4 of 58.9 GiB (92 %) 32.9 of weights leave less than that for the KV cache. Islands are of 4.
    assert plan.verdict == "FITS"
    assert (plan.parameters.tensor_parallel_size, plan.parameters.pipeline_parallel_size) == (4, 2)
    assert plan.memory.weights_bytes.low == 17_639_424_000 + 131072 * 128 * 2  # and a table of positions
    assert plan.kv.bytes_per_token == 2 * 40 * 2 * 128 * 2
    assert plan.parameters.max_num_batched_tokens == 2048  # what vLLM itself takes below 70 GiB


def test_a_model_that_is_too_large_does_not_fit_because_of_its_weights(llama_70b):
    plan = plan_launch(snapshot(gpu_node("gpu01", free_gib=(79.0,))), llama_70b)
    assert plan.verdict == "NO"
    # 141.1 GB are 131.4 GiB, and 0.2 % for what loading adds; the share is 79.2 · 0.92
    assert "weights of 131.7 GiB leave no KV cache in 72.8 GiB" in plan.reason
    assert plan.recipe.argv == ()
    assert plan.parameters.max_model_len is None
    assert plan.kv.capacity_tokens is None


def test_one_gpu_with_less_free_lowers_the_share_for_all_and_is_cited(qwen3_32b):
    whole = plan_launch(snapshot(eight_h100()), qwen3_32b)
    node = with_process(eight_h100(), 3, 69.0, pid=4121, name="nvidia-smi dmon")
    less = plan_launch(snapshot(node), qwen3_32b)
    assert whole.parameters.gpu_memory_utilization == 0.92
    assert "--gpu-memory-utilization" not in whole.recipe.argv
    share = math.floor((69.0 * GIB - before_it_looks(2)) / H100_USABLE * 100) / 100
    assert less.parameters.gpu_memory_utilization == share
    assert share < 69 / 79.2
    assert less.recipe.argv[7:9] == ("--gpu-memory-utilization", str(share))
    assert less.sources["--gpu-memory-utilization"] == (
        "gpu01:3 has 69.0 GiB of 79.6 GiB free (pid 4121, nvidia-smi dmon)"
    )
    assert less.kv.capacity_tokens < whole.kv.capacity_tokens


def test_the_share_is_the_largest_whole_hundredth_that_is_free_at_the_start(tmp_path):
    model = write_model(tmp_path, "qwen3-0.6b")
    for free in (12.0, 31.7, 55.5, 72.9, 73.3, 73.6, 79.0):
        plan = plan_launch(snapshot(gpu_node("gpu01", free_gib=(free,))), model)
        at_start, share = free * GIB - before_it_looks(1), plan.parameters.gpu_memory_utilization
        assert H100_USABLE * share <= at_start
        assert share == 0.92 or H100_USABLE * (share + 0.01) > at_start


def test_memory_that_another_process_holds_is_named_with_its_pid(llama_70b):
    node = eight_h100()
    for index in range(8):
        node = with_process(node, index, 4.0, pid=100 + index, name="python")
    plan = plan_launch(snapshot(node), llama_70b)
    assert plan.verdict == "NO"
    assert "gpu01:0 has 4.0 GiB of 79.6 GiB free (pid 100, python)" in plan.reason
    assert plan.lever == "free gpu01:0 and 7 more GPUs: pid 100, python"


def test_tensor_parallel_over_nodes_is_discarded_with_the_measured_busbw(qwen3_32b):
    nodes = (eight_h100("gpu01"), eight_h100("gpu02"))
    plan = plan_launch(snapshot(*nodes, collective=all_reduce(("gpu01", "gpu02"), 1.1e9)), qwen3_32b)
    crossing = next(one for one in plan.discarded if one.parameters.tensor_parallel_size == 16)
    # two all-reduces in each of 64 layers, 5120 · 2 bytes, 2 · 15/16 of it through every rank: 2.34 MiB, at 1.1 GB/s
    assert crossing.reason == (
        "crosses nodes: busbw 1.1 GB/s between 2 nodes over bond0 (nccl, 64.0 MiB); "
        "2.3 MiB a token through every rank, at least 2.2 ms of each decoded token"
    )
    assert crossing.verdict == "FITS"  # by memory
    assert plan.parameters.tensor_parallel_size == 2
    assert "8 replicas on 2 nodes" in plan.reason
    assert plan.sources["recipe"] == "once on each node"


def test_only_what_fits_inside_no_node_becomes_a_pipeline_over_nodes(tmp_path):
    model = write_model(tmp_path, "llama-405b")
    nodes = tuple(eight_h100(f"gpu0{number}") for number in (1, 2, 3, 4))
    plan = plan_launch(snapshot(*nodes, collective=all_reduce(("gpu01", "gpu02"), 40e9)), model)
    assert plan.verdict == "FITS"
    assert (plan.parameters.tensor_parallel_size, plan.parameters.pipeline_parallel_size) == (8, 2)
    assert "2 replicas on 4 nodes" in plan.reason
    argv = plan.recipe.argv
    assert argv[argv.index("--nnodes") :] == ("--nnodes", "2", "--node-rank", "0", "--master-addr", "10.0.0.1")
    assert plan.recipe.env == {"NCCL_SOCKET_IFNAME": "=bond0", "GLOO_SOCKET_IFNAME": "bond0"}
    assert "--headless" in plan.sources["--node-rank"]
    assert "40.0 GB/s" in plan.sources["--pipeline-parallel-size"]


def test_expert_models_take_the_whole_node_and_one_replica(tmp_path):
    plan = plan_launch(snapshot(eight_h100()), write_model(tmp_path, "qwen3-30b-a3b"))
    assert (plan.verdict, plan.parameters.tensor_parallel_size) == ("FITS", 8)
    assert plan.parameters.data_parallel_size == 1
    assert "4 KV heads on 8 ranks: each is held 2 times" in plan.notes


def test_a_tight_gpu_takes_fewer_sequences_before_it_shortens_the_context(tmp_path):
    model = write_model(tmp_path, "llama-8b")
    nodes = [gpu_node("gpu01", free_gib=(free,), total=24 * GIB, kind=UNNAMED) for free in (22.8, 19.8, 18.9)]
    plans = [plan_launch(snapshot(node), model, wanted=Wanted(goal="throughput")) for node in nodes]
    assert [plan.verdict for plan in plans] == ["FITS"] * 3
    assert [plan.parameters.max_num_seqs for plan in plans] == [256, 64, 64]
    assert [plan.parameters.max_model_len for plan in plans] == [8192, 8192, 4096]
    assert plans[2].parameters.max_model_len * plans[2].kv.bytes_per_token <= plans[2].memory.kv_cache_bytes.low


def test_what_fits_only_without_bad_luck_is_risky_and_names_the_term(tmp_path):
    node = gpu_node("gpu01", free_gib=(18.2,), total=24 * GIB, kind=UNNAMED)
    plan = plan_launch(snapshot(node), write_model(tmp_path, "llama-8b"))
    assert plan.verdict == "RISKY"
    assert "8192 tokens needs 1.0 GiB" in plan.reason  # 128 KiB a token
    assert plan.memory.kv_cache_bytes.low < GIB <= plan.memory.kv_cache_bytes.mid
    assert plan.lever


def test_a_share_that_is_free_only_with_a_small_context_of_its_own_is_risky(qwen3_32b):
    # 99 % of 79.2 GiB are 78.4: with 78.9 free that starts where its own context takes 0.45, not where it takes 0.62
    pinned = Parameters(gpu_memory_utilization=0.99, tensor_parallel_size=1, pipeline_parallel_size=1)
    plan = plan_launch(snapshot(eight_h100(free=78.9)), qwen3_32b, wanted=Wanted(pinned=pinned))
    assert plan.verdict == "RISKY"
    assert "needs 78.4 GiB free at the start, 78.3 GiB are" in plan.reason
    assert plan.lever == "--gpu-memory-utilization 0.97 instead of 0.99"  # 0.98 leaves 0.3 beside it


GEMMA_3_27B = {
    "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "num_hidden_layers": 62, "hidden_size": 5376,
    "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 128, "intermediate_size": 21504,
    "vocab_size": 262208, "max_position_embeddings": 131072, "sliding_window": 1024, "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
}  # fmt: skip


def test_what_starts_but_never_holds_a_whole_request_does_not_fit(tmp_path):
    """Before 0.11 vLLM counts windows as windows before it starts, then keeps every token of all layers."""
    (tmp_path / "config.json").write_text(json.dumps(GEMMA_3_27B))
    node = gpu_node("gpu01", free_gib=(90.0,), total=140 * GIB, kind=UNNAMED)
    orders = {"version": "0.8.5", "wanted": Wanted(context=131072)}
    plan = plan_launch(snapshot(node), str(tmp_path), **orders)
    assert plan.verdict == "NO"
    # 496 KiB a token, in 62 layers of 16 KV heads of 128: 62 GiB; with windows only every sixth layer keeps all
    assert plan.kv.bytes_per_token == 62 * 2 * 16 * 128 * 2
    assert re.search(
        r"vllm starts, but a request of 131,072 tokens can never be answered: it holds [\d,–]+", plan.reason
    )


def test_a_context_never_exceeds_what_the_estimate_behind_the_verdict_holds(tmp_path):
    model = write_model(tmp_path, "llama-8b")
    for free in range(16, 24):
        node = gpu_node("gpu01", free_gib=(free,), total=24 * GIB, kind=UNNAMED)
        plan = plan_launch(snapshot(node), model, wanted=Wanted(goal="context"))
        needed = (plan.parameters.max_model_len or 0) * plan.kv.bytes_per_token
        kv = plan.memory.kv_cache_bytes
        held = {"FITS": kv.low, "RISKY": kv.high if "probably does not start" in plan.reason else kv.mid, "NO": 0}
        assert needed <= held[plan.verdict]


def test_a_thousand_nodes_are_planned_at_once(tmp_path):
    nodes = [eight_h100(f"gpu{number:04d}", free=8.0) for number in range(1000)]
    plan = plan_launch(snapshot(*nodes), write_model(tmp_path, "llama-405b"))
    assert plan.verdict == "NO"  # 756 GiB over 16 nodes of 8 are 5.9 each; of 8 GiB free a start has 7 % of 79.2: 5.5
    assert len(plan.discarded) < 200


def test_every_gib_less_never_makes_a_plan_better(qwen3_32b):
    orders = [
        order(plan_launch(snapshot(gpu_node("gpu01", free_gib=(float(free),) * 2)), qwen3_32b))
        for free in range(79, 4, -5)
    ]
    assert orders == sorted(orders, reverse=True)
    assert orders[0][0] > orders[-1][0]


def test_a_plan_survives_json_with_every_object_present(llama_70b):
    for free in (79.0, 1.0):
        plan = plan_launch(snapshot(eight_h100(free=free)), llama_70b)
        written = msgspec.json.decode(msgspec.json.encode(plan))
        assert written["memory"]["weights_bytes"].keys() == {"low", "mid", "high"}
        assert written["kv"].keys() >= {"bytes_per_token", "capacity_tokens", "printed_tokens", "blocks"}
        assert {"parameters", "recipe", "discarded", "sources", "lever", "speed", "notes"} <= written.keys()
        assert msgspec.convert(written, Plan) == plan
