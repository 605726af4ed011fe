"""Do shapes give the parameters that are published, and the weights, blocks and tokens that vLLM itself counts?"""

from __future__ import annotations

import pytest

from diag.planner.memory.paging import vllm
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.settings import Settings
from diag.planner.memory.paging.split import Split
from diag.planner.memory.paging.versions import vllm_paging
from diag.planner.model import families
from diag.planner.model.architecture import Architecture
from diag.planner.model.shards import parameter_count, rank_weight_bytes, stage_layers
from diag.units import GIB
from tests.planner.clusters import CONFIGS

PUBLISHED = {
    "llama-8b": 8_030_261_248,
    "llama-70b": 70_553_706_496,
    "llama-405b": 405_853_388_800,
    "qwen3-0.6b": 596_049_920,
    "qwen3-8b": 8_190_735_360,
    "qwen3-32b": 32_762_123_264,
    "qwen2-7b": 7_615_616_512,
    "mistral-7b": 7_248_023_552,
    "mixtral-8x7b": 46_702_792_704,
    "qwen3-30b-a3b": 30_532_122_624,
}

RANKS = [
    ("llama-8b", 1, 1, 0, 16_060_522_496),
    ("llama-70b", 8, 1, 0, 17_640_734_720),
    ("llama-70b", 4, 2, 0, 17_639_407_616),
    ("llama-70b", 4, 2, 1, 17_639_424_000),
    ("qwen3-32b", 2, 1, 0, 32_762_800_128),
    ("qwen3-0.6b", 2, 1, 0, 596_115_456),
    ("qwen3-0.6b", 1, 2, 0, 751_631_360),
    ("qwen3-0.6b", 1, 2, 1, 751_633_408),
    ("mixtral-8x7b", 8, 1, 0, 11_677_999_104),
    ("qwen2-7b", 2, 1, 0, 7_615_820_800),
    ("qwen2-7b", 4, 1, 0, 3_808_114_688),
    ("mistral-7b", 2, 1, 0, 7_248_289_792),
    ("llama-1b with biases", 2, 1, 0, 1_236_324_352),
    ("llama-405b", 1, 4, 0, 201_840_328_704),
    ("llama-405b", 1, 4, 2, 204_013_043_712),
    ("llama-405b", 1, 4, 3, 201_840_361_472),
    ("qwen3-30b-a3b", 4, 1, 0, 15_285_252_096),
    ("qwen3-30b-a3b", 8, 1, 0, 7_680_585_728),
]
"""What vLLM 0.32's own model classes hold as that rank (TP, PP, stage), built on the meta device."""

ASKED = [
    ("mixtral-8x7b", 8, 10, 16384, 40960, 655360, 80.0),
    ("qwen2-7b", 4, 10, 14336, 46811, 748976, 91.43),
    ("mistral-7b", 2, 10, 65536, 10240, 163840, 20.0),
    ("llama-1b with biases", 2, 10, 16384, 40960, 655360, 80.0),
    ("llama-8b", 1, 40, 131072, 20480, 327680, 40.0),
    ("llama-70b", 8, 40, 40960, 65536, 1048576, 128.0),
    ("qwen3-30b-a3b", 4, 40, 24576, 109226, 1747616, 213.33),
    ("qwen3-30b-a3b", 8, 40, 24576, 109226, 1747616, 213.33),  # 4 KV heads on 8 ranks are repeated
    ("qwen3-32b", 2, 10, 131072, 5120, 81920, 10.0),
    ("qwen3-0.6b", 2, 10, 57344, 11702, 187232, 22.86),
]
"""vLLM 0.32's own KV cache planner, asked without a GPU: GiB -> a token's bytes, blocks, printed, requests of 8192."""


def model(name: str) -> Architecture:
    return families.read(CONFIGS[name])


def cache(name: str, kv_bytes: int, *, tp: int = 1, length: int = 8192, block_size: int = 16) -> Paged:
    settings = Settings(
        rules=vllm_paging((0, 32)), max_model_len=length, max_num_batched_tokens=8192, block_size=block_size
    )
    return vllm.paged(vllm.layout(model(name), Split(tp=tp), settings), kv_bytes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name):
    assert parameter_count(model(name)) == PUBLISHED[name]


@pytest.mark.parametrize(("name", "tp", "pp", "stage", "expected"), RANKS)
def test_a_rank_holds_what_the_engine_s_own_layers_hold(name, tp, pp, stage, expected):
    assert rank_weight_bytes(model(name), tp=tp, pp=pp, stage=stage) == expected


@pytest.mark.parametrize("row", ASKED)
def test_blocks_and_printed_tokens_are_the_engine_s(row):
    name, tp, gib, per_token, blocks, printed, concurrency = row
    found = cache(name, gib * GIB, tp=tp)
    assert (found.bytes_per_token, found.blocks, found.printed_tokens) == (per_token, blocks, printed)
    assert round(found.max_concurrency, 2) == concurrency


def test_the_cpu_backend_s_tokens_are_what_a_real_one_printed():
    """VLLM 0.32 on CPU with VLLM_CPU_KVCACHE_SPACE=2, Qwen3-0.6B: 18,688 tokens, 2.28x for 8,192 tokens."""
    found = cache("qwen3-0.6b", 2 * GIB, block_size=128)
    assert (found.printed_tokens, round(found.max_concurrency, 2)) == (18688, 2.28)


def test_the_engine_keeps_one_block_for_itself():
    """A token of llama-8b takes 2 · 32 layers · 8 heads · 128 · 2 bytes = 128 KiB."""
    ten = 10 * 16 * 131072
    found = cache("llama-8b", ten, length=16)
    assert (found.blocks, found.printed_tokens, found.capacity_tokens) == (10, 160, 144)


def test_a_request_takes_whole_blocks():
    assert cache("llama-8b", 10 * 16 * 131072, length=17).max_concurrency == 5.0


def test_less_than_a_block_holds_no_tokens():
    found = cache("llama-8b", 15 * 131072, length=16)
    assert (found.blocks, found.capacity_tokens, found.starts) == (0, 0, False)


def test_layers_that_do_not_divide_go_before_the_last_stage():
    assert stage_layers(80, 1) == (80,)
    assert stage_layers(126, 4) == (31, 32, 32, 31)
    assert stage_layers(7, 2) == (4, 3)
    assert stage_layers(7, 3) == (2, 3, 2)


def test_more_ranks_never_hold_more_each_and_never_less_together():
    alone = previous = rank_weight_bytes(model("llama-70b"), tp=1)
    for tp in (2, 4, 8, 16, 32, 64):
        each = rank_weight_bytes(model("llama-70b"), tp=tp)
        assert each < previous
        assert each * tp >= alone
        previous = each
