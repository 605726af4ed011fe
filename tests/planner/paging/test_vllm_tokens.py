"""What vLLM makes of a rank's KV memory, and what its log then says: by hand, version by version."""

from __future__ import annotations

import pytest

from diag.planner.memory.paging.versions import VLLM_PAGING, vllm_paging
from diag.planner.memory.paging.vllm import longest, paged, poorest
from diag.planner.unknown import NotKnown
from tests.planner.paging.models import CHUNK, FULL, GIB, LATENT, STATE, WINDOW, keeping, laid_out, shipped

LLAMA_8B = keeping(*[FULL] * 32)
BLOCK = 32 * 16 * 4096
"""2 MiB."""


def test_a_block_is_a_page_of_every_layer():
    found = paged(laid_out(LLAMA_8B), 10 * GIB)
    assert (found.bytes_per_block, found.blocks, found.block_size) == (BLOCK, 5120, 16)
    assert found.bytes_per_token == 131_072
    assert (found.request_blocks, found.request_bytes) == (512, GIB)


@pytest.mark.parametrize("rules", VLLM_PAGING, ids=lambda rules: f"{rules.since[0]}.{rules.since[1]}")
def test_of_one_kind_of_layer_every_version_prints_the_tokens_of_all_blocks(rules):
    found = paged(laid_out(LLAMA_8B, rules.since), 10 * GIB)
    assert (found.printed_tokens, found.max_concurrency) == (81_920, 10.0)


def test_one_block_is_the_engine_s_own_and_holds_no_request():
    assert paged(laid_out(LLAMA_8B), 10 * GIB).capacity_tokens == 5119 * 16


def test_a_context_that_fills_no_whole_block_takes_one_more():
    """1000 tokens take 63 blocks: 5120 of them hold 81.27 requests, as 0.21 and later count; before, 81.92."""
    layout = laid_out(LLAMA_8B, max_model_len=1000)
    assert layout.request_blocks(1000) == 63
    assert paged(layout, 10 * GIB).printed_tokens == int(5120 / 63 * 1000) == 81_269
    assert paged(laid_out(LLAMA_8B, (0, 19), max_model_len=1000), 10 * GIB).printed_tokens == 81_920


def test_ranks_divide_heads_and_repeat_what_is_fewer():
    assert [laid_out(LLAMA_8B, tp=tp).bytes_per_block for tp in (1, 2, 8, 16)] == [
        BLOCK,
        BLOCK // 2,
        BLOCK // 8,
        BLOCK // 8,
    ]


def test_ranks_that_divide_the_tokens_of_a_request_hold_more_of_it():
    plain, divided = (paged(laid_out(LLAMA_8B, tp=16, dcp=dcp), 10 * GIB) for dcp in (1, 2))
    assert (plain.block_size, divided.block_size) == (16, 32)
    assert divided.printed_tokens == 2 * plain.printed_tokens
    assert divided.bytes_per_token == plain.bytes_per_token / 2


@pytest.mark.parametrize(
    ("dtype", "token"),
    [
        ("auto", 32 * 4096),
        ("bfloat16", 32 * 4096),
        ("fp8", 32 * 2048),
        ("fp8_per_token_head", 32 * (2048 + 8 * 8)),
        ("nvfp4", 32 * 8 * 2 * (64 + 8)),
    ],
)
def test_a_cache_of_fewer_bits_holds_more_tokens(dtype, token):
    assert paged(laid_out(LLAMA_8B, kv_cache_dtype=dtype), GIB).bytes_per_token == token


def test_a_dtype_that_is_not_known_is_named():
    with pytest.raises(NotKnown, match="a KV cache of dtype 'int2' for keys and values: known are bfloat16"):
        laid_out(LLAMA_8B, kv_cache_dtype="int2")


GPT_OSS_120B = keeping(
    *[
        kind
        for _ in range(18)
        for kind in (
            type(FULL)(kv_heads=8, head_dim=64, v_head_dim=64, window=128),
            type(FULL)(kv_heads=8, head_dim=64, v_head_dim=64),
        )
    ]
)
"""18 layers with a window and 18 without; 2048 bytes a token, so 18 pages of 16 tokens are 589,824 bytes."""
LEFT = int(5.38 * GIB)


def test_windows_have_blocks_of_their_own():
    layout = laid_out(GPT_OSS_120B, (0, 24), max_model_len=131_072)
    assert [len(group) for group in layout.groups] == [18, 18]
    assert layout.bytes_per_block == 18 * 16 * 2048
    assert layout.request_blocks(131_072) == 131_072 // 16 + -(-(127 + 8192) // 16) + 1


def test_a_log_of_gpt_oss_120b_changed_its_meaning():
    """5.38 GiB: 0.11 printed 78,336 tokens; as later versions count, 131,072 × 9793 / (8192 + 521) = 147,318."""
    old = paged(laid_out(GPT_OSS_120B, (0, 11), max_model_len=131_072), LEFT)
    new = paged(laid_out(GPT_OSS_120B, (0, 24), max_model_len=131_072), LEFT)
    assert old.blocks == new.blocks == 9793
    assert old.printed_tokens == 9793 // 2 * 16 == 78_336
    assert new.printed_tokens == 147_318
    assert round(new.max_concurrency, 2) == 1.12


def test_the_first_versions_kept_every_token_of_a_window():
    layout = laid_out(GPT_OSS_120B, (0, 8), max_model_len=131_072)
    assert [len(group) for group in layout.groups] == [36]
    assert paged(layout, LEFT).printed_tokens == LEFT // (36 * 16 * 2048) * 16


def test_more_batches_under_way_need_a_longer_window():
    """From 0.26 on of one batch more than there are stages."""
    lengths = {(0, 24): 127 + 2048, (0, 26): 127 + 2 * 2048}
    for version, seen in lengths.items():
        layout = laid_out(keeping(WINDOW), version, max_num_batched_tokens=2048, max_model_len=32_768)
        assert layout.request_blocks(32_768) == -(-seen // 16) + 1


def test_a_window_is_never_longer_than_the_context():
    layout = laid_out(keeping(WINDOW), max_model_len=1024)
    assert layout.request_blocks(1024) == 64 + 1


def test_a_chunk_keeps_its_own_tokens_and_those_under_way_from_0_19_on():
    model = keeping(FULL, CHUNK)
    assert [group[0].page.kind for group in laid_out(model, (0, 19)).groups] == ["full", "chunk"]
    assert laid_out(model, (0, 19)).request_blocks(8192) == 512 + -(-min(256 + 8192, 8192) // 16)
    assert [one.page.kind for group in laid_out(model, (0, 18)).groups for one in group] == ["full", "full"]


def test_without_the_hybrid_manager_every_layer_holds_every_token():
    layout = laid_out(keeping(FULL, WINDOW), hybrid=False)
    assert [group[0].page.kind for group in layout.groups] == ["full"]
    with pytest.raises(NotKnown, match="recurrent states only with its hybrid"):
        laid_out(keeping(FULL, STATE), hybrid=False)


@pytest.mark.parametrize(("version", "spare"), [((0, 19), 0), ((0, 24), 0), ((0, 29), 1), ((0, 33), 1)])
def test_an_engine_starts_when_one_request_fits_beside_its_own_block(version, spare):
    layout = laid_out(LLAMA_8B, version)
    needed = (512 + spare) * BLOCK
    assert paged(layout, needed).starts
    assert not paged(layout, needed - 1).starts


def test_up_to_0_18_only_part_of_what_a_request_needs_was_checked():
    """First what the layers need by themselves, padding apart; then the first group; then all groups."""
    model, needs = keeping(FULL, *[WINDOW] * 3), {}
    for version in ((0, 12), (0, 16), (0, 19)):
        layout = laid_out(model, version, max_num_batched_tokens=512)
        needs[version] = next(blocks for blocks in range(1000) if paged(layout, blocks * 65_536).starts)
    window = -(-(127 + 512) // 16) + 1
    assert needs == {(0, 12): 512 + 3 * window, (0, 16): 512, (0, 19): 512 + 3 * window}


def test_the_longest_context_is_the_one_that_just_starts():
    layout = laid_out(LLAMA_8B)
    found = longest(layout, 100 * BLOCK, 131_072)
    assert found == 99 * 16
    assert longest(layout, BLOCK, 131_072) == 0
    assert longest(layout, 10 * GIB, 4096) == 4096


def test_all_stages_take_as_many_blocks_as_the_poorest():
    stages = [laid_out(LLAMA_8B, pp=2, stage=stage) for stage in (0, 1)]
    assert [stage.bytes_per_block for stage in stages] == [BLOCK // 2, BLOCK // 2]
    found = poorest([(stages[0], 8 * GIB), (stages[1], 6 * GIB)])
    assert found.blocks == 6 * GIB // (BLOCK // 2)
    assert poorest([(stages[0], 8 * GIB), (stages[1], 0)]).blocks == 0


def test_a_stage_of_a_pipeline_counts_only_its_own_layers():
    """61 layers in two stages are 31 and 30."""
    model = keeping(*[LATENT] * 61)
    assert [laid_out(model, pp=2, stage=stage).bytes_per_block for stage in (0, 1)] == [
        count * 576 * 2 * laid_out(model).block_size for count in (31, 30)
    ]


def test_no_memory_is_no_block():
    found = paged(laid_out(LLAMA_8B), -GIB)
    assert (found.blocks, found.printed_tokens, found.capacity_tokens, found.starts) == (0, 0, 0, False)


def test_what_keeps_nothing_is_not_known():
    with pytest.raises(NotKnown, match="keeps anything between tokens"):
        laid_out(keeping(()))
    with pytest.raises(NotKnown, match=r"how vllm 0\.6 pages"):
        vllm_paging((0, 6))
    assert vllm_paging((1, 0)) is VLLM_PAGING[0]


def test_layers_of_a_shipped_model_keep_what_its_config_says():
    """Qwen3-32B: 64 layers, 8 heads of 128: 256 KiB a token."""
    assert paged(laid_out(shipped("Qwen/Qwen3-32B")), GIB).bytes_per_token == 262_144
