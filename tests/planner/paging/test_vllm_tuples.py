"""Compressed layers before 0.29, against what people logged of DeepSeek-V4-Flash. Derived by hand below.

Pages in bytes: 43 windows of 37440 (64 tokens, reach 128); 21 summaries of 37440 and 21 indexers of 8640, 20 summaries
of 1728 (256 tokens); 21 + 21 of what is not summed yet, 32832 and 8640 (4 tokens, reach 8), and 20 of 32832 (8 tokens,
reach 128). Tuples: 21, 43, 21, 20; 22 lose least (1 + 1 + 1 + 2), so the windows are two groups of 22 and 21.
"""

from __future__ import annotations

import pytest

from diag.planner.memory.paging import vllm as paging
from diag.planner.memory.paging.settings import Settings
from diag.planner.memory.paging.split import Split
from diag.planner.memory.paging.versions import vllm_paging
from diag.planner.model import families
from diag.planner.model.catalogue import bundled
from diag.planner.unknown import NotKnown
from diag.units import GIB

TUPLE = 37440 + 8640 + 1728


def layout(version: tuple[int, int], *, length: int, tokens: int, split: Split | None = None) -> paging.Layout:
    model = bundled("deepseek-ai/DeepSeek-V4-Flash")
    settings = Settings(
        rules=vllm_paging(version), max_model_len=length, max_num_batched_tokens=tokens, kv_cache_dtype="fp8"
    )
    return paging.layout(families.read(model.config, model.hf_quant), split or Split(tp=2), settings)


def test_a_block_has_the_fullest_group_s_pages_of_each_size():
    # windows padded: 32832 to 37440
    assert layout((0, 25), length=30000, tokens=16384).bytes_per_block == 22 * 37440 + 21 * 8640 + 20 * 1728
    # from 0.27 on groups overlap as they are: the first is the largest
    assert layout((0, 27), length=30000, tokens=16384).bytes_per_block == 21 * 37440 + 21 * 8640 + 20 * 1728


def test_a_request_needs_what_the_engine_refused_it_for():
    # blocks: 118 of 256; 259 of 64 twice; 4099 of 4; 2065 of 8
    needed = (118 + 2 * 259 + 4099 + 2065) * 22 * TUPLE
    assert needed / GIB == pytest.approx(6.66, abs=0.005)  # logged
    found = layout((0, 25), length=30000, tokens=16384)
    assert not paging.paged(found, needed - 1).starts
    assert paging.paged(found, needed).starts
    assert paging.longest(found, int(5.44 * GIB), 30000) == pytest.approx(13528, abs=8)  # logged, of 5.44 GiB


def test_the_log_counts_bytes_of_all_groups_in_blocks_of_the_first():
    found = layout((0, 25), length=1048576, tokens=8192, split=Split(tp=8))
    first = 21 * 37440 + 21 * 8640 + 20 * 1728
    of_groups = 4096 * first + 131 * 43 * 37440 + 2051 * 21 * (37440 + 8640) + 1041 * 20 * 37440
    blocks = 150 * 10**9 // found.bytes_per_block
    assert paging.paged(found, 150 * 10**9).max_concurrency == pytest.approx(blocks / -(-of_groups // first))


@pytest.mark.parametrize(
    ("length", "printed", "concurrency"),
    [(4096, 90_841, 22.18), (131_072, 1_247_687, 9.52), (262_144, 2_175_276, 8.30)],
)
def test_the_tokens_that_two_h200_printed(length, printed, concurrency):
    """0.23 with 32.08 GiB, known to 0.005."""
    found = paging.paged(layout((0, 23), length=length, tokens=8192), int(32.08 * GIB))
    assert found.printed_tokens == pytest.approx(printed, rel=0.005 / 32.08 + 1e-4)
    assert found.max_concurrency == pytest.approx(concurrency, abs=0.01)


def test_a_wider_batch_counts_only_where_it_is_shorter_than_the_context():
    found = paging.paged(layout((0, 23), length=4096, tokens=16384), int(29.07 * GIB))
    assert found.printed_tokens == pytest.approx(82_301, rel=0.005 / 29.07 + 1e-4)  # logged
    assert found.request_blocks == layout((0, 23), length=4096, tokens=8192).request_blocks(4096)


def test_the_tokens_that_two_gb10_printed_of_exactly_28235618304_bytes():
    """0.27: blocks of 21 · 37440 + 21 · 8640 + 20 · 1728; a request takes 4096 + 2 · 259 + 4099 + 2065 of them.

    Two batches of 8192 are in flight: ⌈(127 + 16384) / 64⌉ + 1 = 259, ⌈(7 + 16384) / 4⌉ + 1, ⌈(127 + 16384) / 8⌉ + 1.
    """
    found = paging.paged(layout((0, 27), length=1_048_576, tokens=8192), 28_235_618_304)
    assert (found.blocks, found.request_blocks) == (28_235_618_304 // 1_002_240, 10_778)
    assert found.printed_tokens == 2_740_813  # logged


def test_what_was_not_read_is_not_known():
    with pytest.raises(NotKnown, match=r"before 0\.21"):
        layout((0, 20), length=8192, tokens=8192)
    with pytest.raises(NotKnown, match="pipelines"):
        layout((0, 25), length=8192, tokens=8192, split=Split(tp=1, pp=2))
