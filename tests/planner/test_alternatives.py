"""Is what else could be launched told only where it would probably start, and only what differs?"""

from __future__ import annotations

import pytest

from diag.declared import declared_snapshot
from diag.engines import plan_launch
from diag.facts.plan import Parameters, Plan
from diag.planner.wanted import Wanted
from diag.units import GIB


def on_one(gib: float, model: str, engine: str, **pinned: float) -> Plan:
    hardware = declared_snapshot("1xNEW", int(gib * GIB), compute_capability="9.0")
    return plan_launch(hardware, model, engine, wanted=Wanted(pinned=Parameters(**pinned)))


def told(plan: Plan, words: str) -> list[str]:
    return [line for line in (*plan.notes, *(one.reason for one in plan.discarded)) if words in line]


@pytest.mark.parametrize(
    ("gib", "model", "engine"),
    [(2.5, "Qwen/Qwen3-0.6B", "sglang"), (10.5, "Qwen/Qwen3-8B", "vllm"), (3.0, "Qwen/Qwen3-0.6B", "sglang")],
)
def test_weights_in_8_bit_that_probably_do_not_start_are_no_alternative(gib, model, engine):
    assert told(on_one(gib, model, engine), "with weights in 8 bit") == []
    assert told(on_one(gib + 3, model, engine), "with weights in 8 bit")


def test_a_kv_cache_in_8_bit_that_probably_does_not_start_is_no_alternative():
    assert told(on_one(2.5, "Qwen/Qwen3-0.6B", "vllm"), "a decision of its own") == []
    assert told(on_one(3.5, "Qwen/Qwen3-0.6B", "vllm"), "a decision of its own")


def test_a_kv_cache_that_stays_as_it_is_is_not_told():
    """LMDeploy takes activations from what its share leaves; below, they come from the share."""
    (line,) = set(told(on_one(4, "Qwen/Qwen3-0.6B", "lmdeploy", gpu_memory_utilization=0.8), "for throughput"))
    assert "MiB more activation at most, and it is NO then: activations need" in line
    (line,) = set(told(on_one(7, "Qwen/Qwen3-0.6B", "lmdeploy"), "for throughput"))
    assert line.endswith("and leave 18,432 tokens of KV cache instead of 21,312")
