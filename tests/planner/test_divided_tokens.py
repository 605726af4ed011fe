"""Can ranks divide the tokens of a request between them, in which version, and what does that change?"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from diag.declared import declared_snapshot
from diag.engines import ENGINES, plan_launch
from diag.facts.plan import Parameters
from diag.planner.deployment import Deployment
from diag.planner.divided_tokens import repeated_queries_bytes, why_not
from diag.planner.memory.paging.settings import Settings
from diag.planner.memory.paging.split import Split
from diag.planner.memory.paging.versions import vllm_paging
from diag.planner.memory.paging.vllm import layout, paged
from diag.planner.memory.reserve import Demand, Reserve
from diag.planner.model import catalogue
from diag.planner.model.families import read
from diag.planner.wanted import Wanted
from diag.units import GIB


def model(name: str):
    return read(catalogue.bundled(name).config, None)


DEEPSEEK, GLM, LLAMA = (model(name) for name in ("deepseek-ai/DeepSeek-V3", "zai-org/GLM-5.1", "Qwen/Qwen3-32B"))


def refused(tp: int, dcp: int, architecture=DEEPSEEK, engine: str = "vllm", version: str = "0.33.0") -> str | None:
    return why_not(Deployment(tp=tp, dcp=dcp), architecture, ENGINES[engine].rules(version))


@pytest.mark.parametrize(
    ("engine", "version", "name", "ways"),
    [
        ("vllm", "0.10.1", "deepseek-ai/DeepSeek-V3", False),
        ("vllm", "0.10.2", "deepseek-ai/DeepSeek-V3", True),
        ("vllm", "0.11.0", "meta-llama/Meta-Llama-3.1-70B", False),
        ("vllm", "0.12.0", "meta-llama/Meta-Llama-3.1-70B", True),
        ("vllm", "0.28.0", "zai-org/GLM-5.1", False),
        ("vllm", "0.29.0", "zai-org/GLM-5.1", True),
        ("vllm", "0.25.0", "Qwen/Qwen3.5-35B-A3B", False),
        ("vllm", "0.26.0", "Qwen/Qwen3.5-35B-A3B", True),
        ("vllm", "0.33.0", "openai/gpt-oss-120b", False),
        ("sglang", "0.5.20", "deepseek-ai/DeepSeek-V3", False),
        ("sglang", "0.5.23", "deepseek-ai/DeepSeek-V3", True),
        ("lmdeploy", "0.18.0", "deepseek-ai/DeepSeek-V3", False),
    ],
)
def test_each_version_divides_the_tokens_of_what_it_can(engine, version, name, ways):
    assert (refused(16, 2, model(name), engine, version) is None) == ways


@pytest.mark.parametrize(
    ("tp", "dcp", "architecture", "version", "why"),
    [
        (
            8,
            8,
            DEEPSEEK,
            "0.9.2",
            "vllm 0.9.2 does not divide the tokens of a request over ranks: known from 0.10.2 on",
        ),
        (8, 3, DEEPSEEK, "0.33.0", "tensor parallel 8 does not divide by decode context parallel 3"),
        (8, 2, LLAMA, "0.33.0", "decode context parallel: tensor parallel 8 is not more than the 8 KV heads"),
        (16, 4, LLAMA, "0.33.0", "decode context parallel 4: at most 2 with 8 KV heads on 16 ranks"),
    ],
)
def test_a_refusal_says_which_numbers_do_not_fit(tp, dcp, architecture, version, why):
    assert refused(tp, dcp, architecture, version=version) == why


def test_windows_are_not_divided():
    assert refused(16, 2, model("openai/gpt-oss-120b")) == (
        "vllm 0.33.0 does not divide the tokens of windows or chunks of tokens over ranks"
    )


def of_glm(available_gib: float):
    settings = Settings(
        rules=vllm_paging((0, 29)), max_model_len=202_752, max_num_batched_tokens=8192, kv_cache_dtype="fp8"
    )
    return paged(layout(GLM, Split(tp=16, dcp=8), settings), int(available_gib * GIB))


def test_a_log_of_glm_5_1_on_16_ranks_is_repeated():
    """It has 1.49 GiB, rounded, and prints 208,383 tokens and 1.03 requests; a block is 512 of them."""
    least, most = of_glm(1.485), of_glm(1.495)
    assert least.printed_tokens < 208_383 < most.printed_tokens
    assert most.printed_tokens - least.printed_tokens == 3 * 512
    assert round(most.max_concurrency, 2) == 1.03


def test_eight_ranks_that_divide_tokens_hold_eight_times_as_many():
    one, eight = (
        paged(
            layout(
                DEEPSEEK,
                Split(tp=8, dcp=dcp),
                Settings(rules=vllm_paging((0, 33)), max_model_len=8192, max_num_batched_tokens=8192),
            ),
            10 * GIB,
        ).capacity_tokens
        for dcp in (1, 8)
    )
    assert eight == 8 * one


def test_sglang_prints_the_tokens_of_one_rank_and_holds_those_of_all():
    of = declared_snapshot("8xH200-141GB", None)
    alone, divided = (
        plan_launch(
            of,
            "deepseek-ai/DeepSeek-V3",
            "sglang",
            "0.5.23",
            Wanted(pinned=Parameters(tensor_parallel_size=8, decode_context_parallel_size=dcp)),
        ).kv
        for dcp in (None, 8)
    )
    assert divided.capacity_tokens == 8 * divided.printed_tokens
    assert 6 * alone.capacity_tokens < divided.capacity_tokens < 8 * alone.capacity_tokens


def test_sglang_keeps_what_makes_the_queries_of_all_that_divide_tokens():
    """64 heads: q_b_proj of 64 × 256 × 2048, and 64 × 192 × 512 of the keys, in 78 layers; 8 of 16 ranks have half."""
    deployment, of_all = Deployment(tp=16, dcp=8), 64 * 256 * 2048 + 64 * 192 * 512
    assert repeated_queries_bytes(GLM, deployment, ENGINES["sglang"].rules("0.5.23")) == 78 * of_all * 2 // 2
    assert repeated_queries_bytes(GLM, deployment, ENGINES["vllm"].rules("0.33.0")) == 0


def planned(**pinned: int):
    wanted = Wanted(pinned=Parameters(**pinned))
    return plan_launch(declared_snapshot("8xH200-141GB", None), "deepseek-ai/DeepSeek-V3", "vllm", "0.33.0", wanted)


def test_it_is_only_planned_where_it_is_settled():
    plan = planned(decode_context_parallel_size=8)
    assert plan.parameters.decode_context_parallel_size == 8
    assert "--decode-context-parallel-size" in plan.recipe.argv
    assert "--block-size" not in plan.recipe.argv
    assert all(one.parameters.decode_context_parallel_size is None for one in planned().discarded)


def test_what_does_not_divide_is_refused_in_one_line():
    plan = planned(decode_context_parallel_size=5)
    assert plan.verdict == "NO"
    assert "does not divide by decode context parallel 5" in plan.reason


def test_a_block_size_that_was_settled_is_spelled_as_settled():
    plan = planned(decode_context_parallel_size=8, tensor_parallel_size=8, block_size=64)
    assert plan.parameters.block_size == 64
    assert plan.kv.block_size == 512


def test_one_more_communicator_is_allowed_for():
    """As the first took: at most 0.7 GiB, probably 0.2."""
    alone, divided = (
        planned(**{**TP_8, **dcp}).memory.non_torch_bytes for dcp in ({}, {"decode_context_parallel_size": 8})
    )
    assert divided.low == alone.low
    assert divided.mid - alone.mid == int(0.2 * GIB)
    assert divided.high - alone.high == int(0.7 * GIB)


TP_8 = {"tensor_parallel_size": 8}


def test_sglang_does_not_size_a_divided_cache_after_capture():
    reserve = Reserve(after_capture_mib=1536)
    usual = Demand(total_bytes=80 * GIB, ranks=8, batched_tokens=8192, graph_batch=256)
    assert reserve.after_capture(usual)
    assert not reserve.after_capture(replace(usual, divides_tokens=True))
