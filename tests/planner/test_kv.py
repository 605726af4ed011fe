"""Does the KV cache's arithmetic agree with vLLM's own planner?"""

from __future__ import annotations

import pytest

from diag.planner.kv import bytes_per_token, capacity_tokens, kv_cache
from diag.planner.shapes import read_shapes
from diag.units import GIB
from tests.planner.clusters import config

# vLLM 0.32's own KV cache planner, asked without a GPU: 8192-token requests.
ASKED = [
    ("mixtral-8x7b", 8, 10, 16384, 40960, 655360, 80.0),
    ("qwen2-7b", 4, 10, 14336, 46811, 748976, 91.43),
    ("mistral-7b", 2, 10, 65536, 10240, 163840, 20.0),
    ("llama-1b with biases", 2, 10, 16384, 40960, 655360, 80.0),
    ("llama-8b", 1, 40, 131072, 20480, 327680, 40.0),
    ("llama-70b", 8, 40, 40960, 65536, 1048576, 128.0),
    ("qwen3-30b-a3b", 4, 40, 24576, 109226, 1747616, 213.33),
    ("qwen3-30b-a3b", 8, 40, 24576, 109226, 1747616, 213.33),  # 4 kv heads on 8 ranks are replicated
    ("qwen3-32b", 2, 10, 131072, 5120, 81920, 10.0),
    ("qwen3-0.6b", 2, 10, 57344, 11702, 187232, 22.86),
]


@pytest.mark.parametrize("row", ASKED)
def test_blocks_and_printed_tokens_are_vllm_s(row):
    name, tp, gib, per_token, blocks, printed, concurrency = row
    shapes = read_shapes(config(name))
    assert bytes_per_token(shapes, tp=tp, layers=shapes.layers) == per_token
    cache = kv_cache(gib * GIB, per_token, 16, 8192)
    assert (cache.blocks, cache.printed_tokens, cache.max_concurrency) == (blocks, printed, concurrency)


def test_the_engine_keeps_one_block_for_itself():
    assert capacity_tokens(10 * 16 * 100, 100, 16) == 9 * 16
    assert kv_cache(10 * 16 * 100, 100, 16, 16).capacity_tokens == 144


def test_a_request_takes_whole_blocks():
    assert kv_cache(10 * 16 * 100, 100, 16, 17).max_concurrency == 5.0


def test_nothing_holds_no_tokens():
    assert capacity_tokens(0, 100, 16) == 0
    assert kv_cache(15 * 100, 100, 16, 16).blocks == 0


def test_a_stage_with_half_the_layers_needs_half_the_bytes():
    shapes = read_shapes(config("llama-70b"))
    assert bytes_per_token(shapes, tp=8, layers=40) * 2 == bytes_per_token(shapes, tp=8, layers=80)


def test_the_cpu_backend_s_tokens_are_what_a_real_one_printed():
    """VLLM 0.32 on CPU with VLLM_CPU_KVCACHE_SPACE=2, Qwen3-0.6B: 18,688 tokens, 2.28x for 8,192 tokens."""
    shapes = read_shapes(config("qwen3-0.6b"))
    cache = kv_cache(2 * GIB, bytes_per_token(shapes, tp=1, layers=28), 128, 8192)
    assert (cache.printed_tokens, cache.max_concurrency) == (18688, 2.28)
