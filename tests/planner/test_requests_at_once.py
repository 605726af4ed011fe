"""Is the deployment chosen that holds the requests that were named, and what is alike not told apart?"""

from __future__ import annotations

import pytest

from diag.declared import declared_snapshot
from diag.engines import plan_launch
from diag.planner.wanted import Wanted
from tests.planner.clusters import write_model
from tests.planner.test_search import ONE_NODE, layout, other_layouts, ranks


@pytest.fixture
def qwen3_32b(tmp_path):
    return write_model(tmp_path, "qwen3-32b")


def test_more_requests_at_once_take_more_gpus_a_replica(qwen3_32b):
    few, many = (plan_launch(ONE_NODE, qwen3_32b, wanted=Wanted(concurrency=n)) for n in (64, 200))
    # a token takes 256 KiB in all; TP 2: 4 · 40 GiB hold 160 requests of 8192 tokens, TP 4: 2 · 55 GiB hold 220
    assert (ranks(few.parameters), ranks(many.parameters)) == ((2, 1), (4, 1))
    assert (few.parameters.max_num_seqs, many.parameters.max_num_seqs) == (64, 200)
    lost = {ranks(one.parameters): one.reason for one in other_layouts(many)}
    assert lost[2, 1].endswith("of 200 requests at once")


def test_more_requests_than_all_gpus_hold_are_told(qwen3_32b):
    plan = plan_launch(ONE_NODE, qwen3_32b, wanted=Wanted(concurrency=400))
    assert plan.parameters.tensor_parallel_size * plan.parameters.pipeline_parallel_size == 8  # holds the most
    assert any(note.endswith("of 400 requests of 8,192 tokens at once; the others wait") for note in plan.notes)


def test_who_holds_all_requests_that_were_asked_for_wins_over_who_holds_nearly_all():
    """TP 4 holds 200 requests, with whole experts 206: alike, unless it is 204 that are to be held."""
    hardware = declared_snapshot("4xL40S", None)
    exact, more = (
        plan_launch(hardware, "openai/gpt-oss-120b", wanted=Wanted(concurrency=count)) for count in (204, 220)
    )
    assert exact.parameters.expert_parallel
    assert exact.kv.max_concurrency >= 204
    lost = {layout(one.parameters): one.reason for one in other_layouts(exact)}
    assert lost[4, 1, 1, False] == "holds 200 of 204 requests at once"
    assert not more.parameters.expert_parallel


def test_a_few_more_requests_than_estimates_tell_apart_are_worth_no_pipeline_stages(qwen3_32b):
    """TP 8 holds 60.1 requests of 32k, TP 1 × PP 8 61.9: sampling and graphs differ by 1.7 GiB, known to 4."""
    plan = plan_launch(ONE_NODE, qwen3_32b, wanted=Wanted(goal="throughput", context=32768, concurrency=512))
    assert ranks(plan.parameters) == (8, 1)
    lost = {ranks(one.parameters): one for one in other_layouts(plan)}
    assert lost[1, 8].kv.capacity_tokens > plan.kv.capacity_tokens
    assert lost[1, 8].reason == "more pipeline stages than TP 8"
