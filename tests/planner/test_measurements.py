"""Do measurements of a node's GPUs stand for the planner's estimates, and does the plan cite them?"""

from __future__ import annotations

from typing import Any

import pytest

from diag.engines import plan_launch, vllm
from diag.facts.plan import Parameters, Plan
from diag.facts.speed import Context, Fill, Lost, NodeCollectives, P2p, Speed
from diag.planner.measurements import measured, not_allocatable, wrong_pairs
from diag.planner.memory.attempt import Measured
from diag.planner.wanted import Wanted
from diag.units import GIB, MIB
from tests.planner.clusters import eight_h100, snapshot, write_model

WRONG = "gpu:3 to gpu:5 on gpu01 did not deliver what was sent"


def speed(**facts: Any) -> Speed:
    return Speed(level="normal", seconds=60.0, **facts)


def pair(*, verified: bool = True, direct: bool = True) -> P2p:
    wrong = "" if verified else "zeros"
    return P2p(source=3, target=5, direct=direct, size_bytes=MIB, times_s=(1e-3,), verified=verified, wrong=wrong)


def contexts(*sizes: int) -> tuple[Context, ...]:
    return tuple(Context(gpu=n, context_bytes=size // 2, with_gemm_bytes=size) for n, size in enumerate(sizes))


@pytest.fixture
def llama_70b(tmp_path):
    return write_model(tmp_path, "llama-70b")


def planned(model: Any, found: Speed | None = None, **wanted: Any) -> Plan:
    node = eight_h100() if found is None else eight_h100(speed=found)
    return plan_launch(snapshot(node), model, **wanted)


def test_the_largest_context_and_communicator_of_all_nodes_count():
    first = eight_h100("gpu01", speed=speed(contexts=contexts(500 * MIB, 700 * MIB)))
    group = NodeCollectives(backend="nccl", world_size=8, communicator_bytes=900 * MIB)
    second = eight_h100("gpu02", speed=speed(contexts=contexts(600 * MIB), collectives=group))
    assert measured([first, second]) == Measured(context=700 * MIB, communicators=((8, 900 * MIB),))
    assert measured([eight_h100()]) == Measured()


def test_a_measured_context_and_communicator_stand_for_their_estimates(llama_70b):
    group = NodeCollectives(backend="nccl", world_size=8, communicator_bytes=900 * MIB)
    found = speed(contexts=contexts(700 * MIB), collectives=group)
    eight = Wanted(pinned=Parameters(tensor_parallel_size=8))
    guessed, plan = planned(llama_70b, wanted=eight), planned(llama_70b, found, wanted=eight)
    rules = vllm.rules("0.33")
    for level in ("low", "mid", "high"):
        guess = int(getattr(rules.context, level) + getattr(rules.communicator, level))
        more = getattr(plan.memory.non_torch_bytes, level) - getattr(guessed.memory.non_torch_bytes, level)
        assert more == 1600 * MIB - guess
    assert "measured: the context of a process" in plan.sources["non_torch_bytes"]
    assert "a communicator of 8 ranks: measured" in plan.sources["non_torch_bytes"]


def test_a_communicator_of_other_ranks_stays_an_estimate(llama_70b):
    group = NodeCollectives(backend="nccl", world_size=8, communicator_bytes=900 * MIB)
    four = Wanted(pinned=Parameters(tensor_parallel_size=4))
    plan = planned(llama_70b, speed(contexts=contexts(700 * MIB), collectives=group), wanted=four)
    assert "ranks: measured" not in plan.sources["non_torch_bytes"]


def test_a_communicator_of_as_many_ranks_counts_where_several_were_weighed(llama_70b):
    weighed = ((2, 500 * MIB), (4, 650 * MIB), (8, 1000 * MIB))
    group = NodeCollectives(backend="nccl", world_size=8, communicator_bytes=900 * MIB, communicators=weighed)
    for ranks, taken in weighed[1:]:
        pinned = Wanted(pinned=Parameters(tensor_parallel_size=ranks))
        plan = planned(llama_70b, speed(contexts=contexts(700 * MIB), collectives=group), wanted=pinned)
        assert f"a communicator of {ranks} ranks: measured" in plan.sources["non_torch_bytes"]
        assert plan.memory.non_torch_bytes.low >= 700 * MIB + taken
    assert measured([eight_h100(speed=speed(contexts=(), collectives=group))]).communicators == weighed


def test_memory_that_no_program_got_is_not_free(llama_70b):
    lost = 10 * GIB
    fill = Fill(gpu=2, told_bytes=79 * GIB, allocatable_bytes=79 * GIB - lost, verified=True)
    node = eight_h100(speed=speed(fills=(fill,)))
    assert (not_allocatable(node, 2), not_allocatable(node, 3)) == (lost, 0)
    plan = planned(llama_70b, speed(fills=(fill,)))
    assert plan.parameters.gpu_memory_utilization < planned(llama_70b).parameters.gpu_memory_utilization
    assert "10.0 GiB that the driver calls free could not be allocated" in plan.sources["--gpu-memory-utilization"]


def test_memory_that_was_not_read_back_right_says_nothing(llama_70b):
    fill = Fill(gpu=2, told_bytes=79 * GIB, allocatable_bytes=10 * GIB, verified=False)
    assert planned(llama_70b, speed(fills=(fill,))).parameters == planned(llama_70b).parameters


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"p2p": (pair(verified=False),)}, WRONG),
        ({"p2p": (), "lost": (Lost(topic="p2p", gpus=(3, 5), how="killed", why="8 s"),)},
         "gpu:3 and gpu:5 on gpu01 did not deliver what was sent"),
        ({"p2p": (pair(),), "lost": (Lost(topic="p2p", gpus=(1, 2), how="skipped", why="no time"),)}, ""),
        ({"p2p": (pair(),), "lost": (Lost(topic="p2p", gpus=(1, 2), how="failed", why="out of memory"),)}, ""),
        ({"p2p": (pair(verified=False, direct=False),)}, ""),
        ({}, ""),
    ],
)  # fmt: skip
def test_only_pairs_that_were_tried_and_failed_are_wrong(facts, told):
    assert wrong_pairs([eight_h100(speed=speed(**facts))]) == told


def test_gpus_that_deliver_wrong_bytes_are_kept_apart_in_nccl_and_in_the_engine(llama_70b):
    plan = planned(llama_70b, speed(p2p=(pair(verified=False),)))
    assert plan.recipe.env == {"NCCL_P2P_DISABLE": "1"}
    assert "--disable-custom-all-reduce" in plan.recipe.argv
    assert plan.sources["NCCL_P2P_DISABLE"] == WRONG
    assert plan.sources["--disable-custom-all-reduce"].startswith(WRONG)
    well = planned(llama_70b, speed(p2p=(pair(),)))
    assert not well.recipe.env
    assert [word for word in plan.recipe.argv if word != "--disable-custom-all-reduce"] == list(well.recipe.argv)


def test_one_gpu_a_replica_has_nobody_to_send_to(tmp_path):
    plan = planned(write_model(tmp_path, "qwen3-0.6b"), speed(p2p=(pair(verified=False),)))
    assert plan.parameters.tensor_parallel_size == 1
    assert not plan.recipe.env
