"""Layers of different kinds in one pool of vLLM: latent entries, states, summaries; and the groups they make."""

from __future__ import annotations

import pytest

from diag.planner.memory.paging.packing import closest_multiple
from diag.planner.memory.paging.vllm import paged
from diag.planner.model.architecture import AttentionCache
from diag.planner.model.formats.quantization import Quantization
from diag.planner.unknown import NotKnown
from tests.planner.paging.models import (
    COMPRESSED,
    FULL,
    GIB,
    LATENT,
    SPARSE,
    STATE,
    WINDOW,
    keeping,
    laid_out,
    shipped,
)

MLA = keeping(*[LATENT] * 61)


def sizes(layout) -> list[int]:
    return [len(group) for group in layout.groups]


@pytest.mark.parametrize("tp", [1, 2, 8, 16])
def test_a_latent_entry_is_on_every_rank(tp):
    """DeepSeek-V3: 61 · 576 · 2 bytes."""
    assert paged(laid_out(MLA, tp=tp), 10 * GIB).bytes_per_token == 70_272


@pytest.mark.parametrize(
    ("version", "capability", "dtype", "tokens"),
    [
        ((0, 8), (9, 0), "auto", 64),
        ((0, 8), (10, 0), "auto", 128),
        ((0, 8), (8, 0), "auto", 16),
        ((0, 12), (10, 0), "auto", 64),
        ((0, 32), (9, 0), "auto", 16),
        ((0, 32), (9, 0), "fp8", 64),
        ((0, 32), (10, 0), "auto", 32),
    ],
)
def test_kernels_decide_how_many_tokens_a_latent_block_has(version, capability, dtype, tokens):
    layout = laid_out(MLA, version, compute_capability=capability, kv_cache_dtype=dtype)
    assert layout.block_size == tokens


@pytest.mark.parametrize(
    ("version", "capability", "dtype", "tokens"),
    [
        ((0, 32), (9, 0), "fp8", 16),
        ((0, 33), (9, 0), "fp8", 64),
        ((0, 33), (9, 0), "auto", 16),
        ((0, 33), (8, 0), "fp8", 16),
    ],
)
def test_8_bit_entries_of_heads_of_512_are_read_in_larger_blocks_on_hopper(version, capability, dtype, tokens):
    wide = keeping(AttentionCache(kv_heads=2, head_dim=512, v_head_dim=512))
    assert laid_out(wide, version, compute_capability=capability, kv_cache_dtype=dtype).block_size == tokens


def test_a_block_size_that_is_asked_for_is_taken():
    assert laid_out(MLA, block_size=128).block_size == 128


@pytest.mark.parametrize(
    ("version", "capability", "dtype", "entry"),
    [
        ((0, 32), (9, 0), "auto", 576 * 2),
        ((0, 32), (9, 0), "fp8", 656),
        ((0, 32), (10, 0), "fp8", 576),
        ((0, 32), (9, 0), "nvfp4_ds_mla", 352),
        ((0, 11), (9, 0), "auto", 656),
    ],
)
def test_a_sparse_model_keeps_the_keys_of_its_indexer_beside_its_entries(version, capability, dtype, entry):
    """128 keys of 8 bit and a scale of 4 bytes: 132."""
    layout = laid_out(keeping(SPARSE), version, compute_capability=capability, kv_cache_dtype=dtype)
    assert paged(layout, GIB).bytes_per_token == entry + 132


def test_a_checkpoint_that_asks_for_8_bits_is_heeded_from_0_16_on():
    asks = keeping(FULL, quantization=Quantization(method="modelopt", kv_cache_dtype="fp8"))
    assert [paged(laid_out(asks, version), GIB).bytes_per_token for version in ((0, 12), (0, 16))] == [4096, 2048]


QWEN35 = keeping(*[STATE, STATE, STATE, AttentionCache(kv_heads=4, head_dim=256, v_head_dim=256)] * 16)
"""Qwen3.5-27B: a state is 3,207,168 bytes, a token 4096 in each layer that attends."""


def test_blocks_grow_until_a_page_holds_a_state():
    """784 = 16 · ⌈3,207,168 / (16 · 4096)⌉ tokens; 4 groups of 16 layers."""
    layout = laid_out(QWEN35)
    assert layout.block_size == 784
    assert sizes(layout) == [16, 16, 16, 16]
    assert layout.bytes_per_block == 16 * 784 * 4096


@pytest.mark.parametrize(("version", "states"), [((0, 24), 1), ((0, 27), 1), ((0, 28), 2), ((0, 32), 2)])
def test_prefix_caching_keeps_more_states_of_a_request(version, states):
    assert laid_out(QWEN35, version).request_blocks(8192) == 3 * states + -(-8192 // 784)


def test_before_0_28_states_are_cached_only_where_one_asks_for_it():
    assert laid_out(QWEN35, (0, 26), prefix_caching=True).request_blocks(8192) == 3 * 2 + -(-8192 // 784)
    assert laid_out(QWEN35, (0, 26)).request_blocks(8192) == 3 + -(-8192 // 784)


@pytest.mark.parametrize(("capability", "block", "states"), [((9, 0), 832, 3), ((12, 0), 832, 3), ((8, 0), 784, 2)])
def test_since_0_33_some_kernels_write_a_third_state_at_multiples_of_64_tokens(capability, block, states):
    layout = laid_out(QWEN35, (0, 33), compute_capability=capability)
    assert layout.block_size == block
    assert layout.request_blocks(8192) == 3 * states + -(-8192 // block)
    assert laid_out(QWEN35, (0, 33), prefix_caching=False).block_size == 784


def test_without_prefix_caching_a_request_has_one_state():
    assert laid_out(QWEN35, prefix_caching=False).request_blocks(8192) == 3 + -(-8192 // 784)
    with pytest.raises(NotKnown, match=r"before vLLM 0\.26"):
        laid_out(QWEN35, (0, 24), prefix_caching=True)


def test_ranks_divide_states_and_pages_alike():
    assert [laid_out(QWEN35, tp=tp).block_size for tp in (1, 2, 4)] == [784, 784, 784]
    assert laid_out(QWEN35, tp=4).bytes_per_block == 16 * 784 * 1024


def test_states_alone_are_not_padded():
    layout = laid_out(keeping(STATE, STATE))
    assert layout.bytes_per_block == 2 * 3_207_168
    assert paged(layout, GIB).bytes_per_token == 0


@pytest.mark.parametrize(
    ("full", "windows", "version", "groups"),
    [
        (18, 18, (0, 24), [18, 18]),
        (10, 52, (0, 24), [9, 9, 9, 9, 8, 8, 10]),
        (5, 25, (0, 24), [5, 5, 5, 5, 5, 5]),
        (10, 13, (0, 24), [13, 10]),
        (10, 13, (0, 11), [7, 6, 10]),
        (10, 13, (0, 12), [7, 6, 10]),
        (10, 12, (0, 12), [12, 10]),
    ],
)
def test_groups_have_the_size_of_the_smaller_kind_unless_the_kinds_are_nearly_even(full, windows, version, groups):
    layout = laid_out(keeping(*[WINDOW] * windows, *[FULL] * full), version)
    assert sizes(layout) == groups
    assert layout.bytes_per_block == max(groups) * 65_536


NARROW = AttentionCache(kv_heads=4, head_dim=128, v_head_dim=128, window=128)


def test_smaller_pages_hold_more_tokens_where_that_divides():
    layout = laid_out(keeping(FULL, NARROW))
    assert [group[0].page.block_size for group in layout.groups] == [16, 32]
    with pytest.raises(NotKnown, match="pages of"):
        laid_out(keeping(FULL, NARROW), (0, 11))


def test_pages_that_do_not_divide_are_padded_from_0_24_on():
    odd = AttentionCache(kv_heads=3, head_dim=128, v_head_dim=128, window=128)
    assert laid_out(keeping(FULL, odd)).bytes_per_block == 65_536
    with pytest.raises(NotKnown, match=r"\[24576, 65536\]"):
        laid_out(keeping(FULL, odd), (0, 21))


def test_windows_beside_latent_entries_keep_every_token_from_0_28_on():
    """Their pages cannot have one size: 16 · 4096 bytes and 16 · 1152."""
    layout = laid_out(keeping(LATENT, WINDOW), (0, 28), compute_capability=(8, 0))
    assert [one.page.kind for group in layout.groups for one in group] == ["latent", "full"]
    with pytest.raises(NotKnown, match=r"\[18432, 65536\]"):
        laid_out(keeping(LATENT, WINDOW), (0, 26), compute_capability=(8, 0))


def test_summaries_windows_and_indexers_lie_side_by_side():
    """DeepSeek-V4, in rows of 576 bytes: a window, summaries of 4 tokens, what is not summed yet, and an indexer."""
    layout = laid_out(keeping(COMPRESSED))
    kinds = sorted((one.page.kind, one.page.block_size, one.page.bytes) for one in layout.kept)
    assert kinds == [
        ("latent", 256, 15 * 576),  # 64 · (128 + 4)
        ("latent", 256, 65 * 576),  # 64 · 584
        ("latent_window", 4, 15 * 576),  # 4 · 2 · 2 · 128 · 4
        ("latent_window", 4, 57 * 576),  # 4 · 2 · 2 · 512 · 4
        ("latent_window", 64, 65 * 576),  # 64 · 584
    ]


@pytest.mark.parametrize(
    ("version", "changes", "why"),
    [
        ((0, 20), {}, "vLLM before 0.21 groups compressed layers"),
        ((0, 32), {"hybrid": False}, "fails to start"),
        ((0, 32), {"kv_cache_dtype": "bfloat16"}, "a KV cache of dtype 'bfloat16' for 512 compressed elements"),
    ],
)
def test_what_vllm_does_not_do_with_summaries_is_refused(version, changes, why):
    with pytest.raises(NotKnown, match=why):
        laid_out(keeping(COMPRESSED), version, **changes)


def test_tokens_of_windows_are_not_divided_over_ranks():
    with pytest.raises(NotKnown, match="does not divide the tokens of windows"):
        laid_out(keeping(WINDOW), tp=16, dcp=2)


@pytest.mark.parametrize(("counts", "least", "size"), [((20, 21), 20, 21), ((10, 20, 30), 1, 10), ((7,), 7, 7)])
def test_repeats_are_rounded_to_what_wastes_least(counts, least, size):
    assert closest_multiple(counts, least) == size


def test_keys_of_an_index_are_kept_beside_keys_and_values():
    """MiniMax-M3: 60 layers of 2 · 4 heads · 128 · 2 bytes, 57 of them with an index key of 128 · 2; blocks of 128."""
    layout = laid_out(shipped("MiniMaxAI/MiniMax-M3"))
    assert layout.block_size == 128
    assert paged(layout, GIB).bytes_per_token == 60 * 2048 + 57 * 256
