"""Blocks and tokens that LMDeploy's PyTorch engine makes of a rank's KV memory, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from diag.planner.memory.paging.lmdeploy import LmdeploySettings, paged, state_pool_bytes
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.split import Split
from diag.planner.model.architecture import AttentionCache
from diag.planner.unknown import NotKnown
from tests.planner.paging.models import COMPRESSED, FULL, GIB, LATENT, SPARSE, STATE, WINDOW, keeping

LLAMA_8B = keeping(*[FULL] * 32)
BLOCK = 32 * 64 * 4096
"""8 MiB: 64 tokens."""


def settings(**changes: Any) -> LmdeploySettings:
    given: dict[str, Any] = {"session_len": 8192, "max_batch_size": 128, **changes}
    return LmdeploySettings(**given)


def of(model, kv_bytes: int = 10 * GIB, *, tp: int = 1, **changes: Any) -> Paged:
    return paged(model, Split(tp=tp), settings(**changes), kv_bytes)


def test_a_block_holds_64_tokens_of_every_layer():
    found = of(LLAMA_8B)
    assert (found.bytes_per_block, found.block_size, found.blocks) == (BLOCK, 64, 1280)
    assert (found.printed_tokens, found.max_concurrency) == (81_920, 10.0)


def test_a_longer_block_is_asked_for():
    assert of(LLAMA_8B, cache_block_seq_len=128).bytes_per_block == 2 * BLOCK


@pytest.mark.parametrize(
    ("policy", "layer"), [(8, 2 * 8 * 64 * (128 + 4)), (16, 2 * 8 * 64 * 128), (17, 2 * 8 * 64 * 128)]
)
def test_quantized_entries_have_a_scale_and_a_zero_point_a_head_and_token_unless_they_are_fp8(policy, layer):
    assert of(LLAMA_8B, quant_policy=policy).bytes_per_block == 32 * layer


def test_tensors_are_rounded_up():
    """2 · 60 rows of 10 elements of 2 bytes are 1200 bytes, 1280 in whole 256."""
    odd = keeping(AttentionCache(kv_heads=1, head_dim=10, v_head_dim=10))
    assert of(odd, cache_block_seq_len=60).bytes_per_block == 2 * 1280


def test_blocks_are_halved_for_wide_heads():
    wide = keeping(FULL, AttentionCache(kv_heads=1, head_dim=512, v_head_dim=512))
    assert of(wide).block_size == 32


def test_windows_keep_every_token():
    assert of(keeping(WINDOW)).bytes_per_token == of(keeping(FULL)).bytes_per_token == 4096


@pytest.mark.parametrize(("tp", "part"), [(1, 1), (4, 4), (8, 8), (16, 8)])
def test_heads_are_divided_and_then_repeated(tp, part):
    assert of(LLAMA_8B, tp=tp).bytes_per_block == BLOCK // part


def test_a_latent_entry_is_on_every_rank():
    model = keeping(*[LATENT] * 61)
    assert [of(model, tp=tp).bytes_per_token for tp in (1, 8)] == [70_272, 70_272]


def test_a_sparse_model_keeps_the_keys_of_its_indexer():
    assert of(keeping(SPARSE)).bytes_per_block == 64 * (1152 + 132)
    assert of(keeping(SPARSE), quant_policy=16).bytes_per_block == 64 * (656 + 132)


QWEN35 = keeping(*[STATE, STATE, STATE, FULL] * 4)
CONV, MATRIX = 4 * 10_240 * 2, 48 * 128 * 128
"""A window of four inputs, one more than is needed; a matrix for each head."""


def test_states_of_every_request_and_two_to_spare_are_set_aside_in_16_bit():
    assert state_pool_bytes(QWEN35, Split(tp=1), settings()) == 130 * 12 * (CONV + 2 * MATRIX)
    assert state_pool_bytes(LLAMA_8B, Split(tp=1), settings()) == 0


def test_states_are_not_in_the_memory_of_the_blocks():
    assert of(QWEN35, 10 * GIB).blocks == 10 * GIB // (4 * 64 * 4096)


def test_two_blocks_are_too_few_to_start():
    assert [of(LLAMA_8B, blocks * BLOCK).starts for blocks in (0, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("model", "split", "changes", "why"),
    [
        (LLAMA_8B, Split(tp=1, pp=2), {}, "no pipeline stages"),
        (LLAMA_8B, Split(tp=1), {"quant_policy": 5}, "quant_policy 5: known are 0, 4, 8, 16, 17"),
        (keeping(COMPRESSED), Split(tp=1), {}, "compressed layers in LMDeploy"),
        (keeping(STATE), Split(tp=1), {}, "a model without attention"),
        (keeping(FULL, encoder=True), Split(tp=1), {}, "serves no encoders"),
    ],
)
def test_what_is_not_known_is_said(model, split, changes, why):
    with pytest.raises(NotKnown, match=why):
        paged(model, split, settings(**changes), GIB)
