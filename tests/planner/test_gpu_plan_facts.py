"""What becomes of a plan where facts are missing, differ between nodes or contradict each other, and is it said?"""

from __future__ import annotations

import msgspec
import pytest

from diag.engines import plan_launch
from diag.facts.record import Missing
from diag.units import GIB
from tests.planner.clusters import (
    all_reduce,
    config,
    eight_h100,
    gpu_node,
    installed,
    model_files,
    read_speed,
    snapshot,
    write_model,
)

QWEN3_32B = 32_762_123_264
"""Parameters, as published."""


@pytest.fixture
def qwen3_32b(tmp_path):
    return write_model(tmp_path, "qwen3-32b")


def test_a_fact_that_is_missing_makes_the_plan_unknown_and_says_why(qwen3_32b):
    node = eight_h100()
    gpus = (msgspec.structs.replace(node.gpus[0], free_bytes=Missing("NVML: Insufficient Permissions")), *node.gpus[1:])
    plan = plan_launch(snapshot(msgspec.structs.replace(node, gpus=gpus)), qwen3_32b)
    assert plan.verdict == "UNKNOWN"
    assert "gpu01:0: NVML: Insufficient Permissions" in plan.reason
    assert plan.recipe.argv == ()


def test_a_gpu_divided_by_mig_is_not_guessed_at(qwen3_32b):
    node = eight_h100()
    gpus = tuple(msgspec.structs.replace(gpu, mig=gpu.index == 2) for gpu in node.gpus)
    plan = plan_launch(snapshot(msgspec.structs.replace(node, gpus=gpus)), qwen3_32b)
    assert plan.reason == "not known: gpu01:2 is divided by MIG"


def test_what_an_engine_runs_on_an_unheard_of_vendor_is_unknown_with_all_figures(qwen3_32b):
    node = gpu_node("x1", free_gib=(60.0,) * 8, total=64 * GIB, kind="ACME X1")
    plan = plan_launch(snapshot(node), qwen3_32b)
    assert plan.verdict == "UNKNOWN"
    assert plan.reason.startswith("not known: bf16 with vllm 0.33 on acme: nothing is known; by memory alone FITS: ")
    norms = 64 * (2 * 5120 + 2 * 128) + 5120  # on each of 4 ranks, all else is divided
    table = 40960 * 128  # of positions
    assert plan.memory.weights_bytes.low == 2 * ((QWEN3_32B - norms) // 4 + norms + table)
    assert plan.kv.capacity_tokens
    assert plan.recipe.argv == ()


def test_nodes_without_readable_gpus_are_left_out_and_named(qwen3_32b):
    blind = gpu_node("gpu02", free_gib=(), gpus=Missing("no answer within 8 s"))
    plan = plan_launch(snapshot(eight_h100(), blind), qwen3_32b)
    assert plan.verdict == "FITS"
    assert plan.sources["left_out"] == "gpu02: GPUs not measured: no answer within 8 s"


def test_nodes_with_fewer_gpus_set_the_number_for_all(qwen3_32b):
    plan = plan_launch(snapshot(eight_h100(), gpu_node("gpu02", free_gib=(79.0,) * 4)), qwen3_32b)
    assert plan.parameters.tensor_parallel_size * plan.parameters.data_parallel_size == 4
    assert "nodes have 4 to 8" in plan.sources["left_out"]


def test_headers_that_agree_with_the_config_give_the_weights_and_the_load_time():
    files = model_files(config("qwen3-32b"), parameters=QWEN3_32B)
    node = eight_h100(model=files, read_speed=read_speed(1e9))
    plan = plan_launch(snapshot(node, model_path="/models/m"), None)
    assert plan.load_seconds == pytest.approx(65.5)
    assert "32,762,123,264 parameters in the safetensors headers" in plan.sources["weights_bytes"]
    assert plan.recipe.argv[:3] == ("vllm", "serve", "/models/m")


def test_more_nodes_than_read_at_once_share_what_those_got():
    files = model_files(config("qwen3-32b"), parameters=QWEN3_32B)
    nodes = [eight_h100(f"gpu0{n}", model=files, read_speed=read_speed(1e9, readers=4)) for n in range(1, 9)]
    plan = plan_launch(snapshot(*nodes, model_path="/models/m"), None)
    assert plan.load_seconds == pytest.approx(131.0)
    assert "4 nodes reading at once, 8 to load" in plan.sources["load_seconds"]


def test_a_load_time_that_was_not_measured_is_null_and_says_why(qwen3_32b):
    assert plan_launch(snapshot(eight_h100()), qwen3_32b).load_seconds is None
    files = model_files(config("qwen3-32b"), parameters=QWEN3_32B)
    node = eight_h100(model=files, read_speed=Missing("passive level"))
    plan = plan_launch(snapshot(node, model_path="/models/m"), None)
    assert (plan.load_seconds, plan.sources["load_seconds"]) == (None, "not measured on gpu01: passive level")


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"parameters": 30_000_000_000}, "30,000,000,000 parameters"),
        ({"parameters": QWEN3_32B, "dtype": "F8_E4M3"}, "bytes of quantized weights"),
        ({"parameters": QWEN3_32B, "missing_shards": ("model-00002-of-00017.safetensors",)}, "model-00002"),
    ],
)
def test_files_that_contradict_their_config_are_not_planned_for(facts, named):
    node = eight_h100(model=model_files(config("qwen3-32b"), **facts))
    plan = plan_launch(snapshot(node, model_path="/models/m"), None)
    assert plan.verdict == "UNKNOWN"
    assert named in plan.reason


def test_a_tied_checkpoint_that_stores_its_head_twice_is_the_same_model(tmp_path):
    files = model_files(config("qwen3-0.6b"), parameters=596_049_920 + 151936 * 1024)
    plan = plan_launch(snapshot(eight_h100(model=files), model_path="/models/m"), None)
    assert plan.memory.weights_bytes.low == 2 * (596_049_920 + 40960 * 128)  # and a table of positions
    assert plan.memory == plan_launch(snapshot(eight_h100()), write_model(tmp_path, "qwen3-0.6b")).memory


def test_installed_versions_decide_and_where_they_differ_the_plan_says_so(qwen3_32b):
    nodes = (eight_h100("gpu01", software=installed("0.33.1")), eight_h100("gpu02", software=installed("0.32.0")))
    plan = plan_launch(snapshot(*nodes), qwen3_32b)
    assert plan.engine.version == "0.32.0"
    assert "0.33.1 on gpu01; 0.32.0 on gpu02" in plan.sources["engine.version"]


@pytest.mark.parametrize(
    ("collective", "said"),
    [
        (Missing("no torch under python3"), "busbw between nodes not measured: no torch under python3"),
        (all_reduce(("gpu01",), 9e9), "busbw between nodes not measured: the collective ran on one node"),
        (
            msgspec.structs.replace(all_reduce(("gpu01", "gpu02"), 9e9), finished=False, summary="rank 9 hung"),
            "busbw between nodes not measured: rank 9 hung",
        ),
    ],
)
def test_a_collective_that_did_not_measure_between_nodes_is_no_figure(qwen3_32b, collective, said):
    nodes = (eight_h100("gpu01"), eight_h100("gpu02"))
    plan = plan_launch(snapshot(*nodes, collective=collective), qwen3_32b)
    crossing = next(one for one in plan.discarded if one.parameters.tensor_parallel_size == 16)
    assert crossing.reason == f"crosses nodes: {said}; 2.3 MiB a token through every rank"
    assert plan.sources["nodes"] == said


def test_tables_of_positions_are_told_beside_the_weights():
    shapes = plan_launch(snapshot(eight_h100()), "Qwen/Qwen3-8B", "vllm", "0.33.0")
    assert shapes.sources["weights_bytes"].endswith("; on each GPU 10.0 MiB more of tables of positions")
    none = plan_launch(snapshot(eight_h100()), "Qwen/Qwen3-8B", "lmdeploy", "0.18.0")
    assert "tables of positions" not in none.sources["weights_bytes"]
