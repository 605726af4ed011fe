"""Blocks and tokens that TurboMind makes of a rank's KV memory, by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.split import Split
from diag.planner.memory.paging.turbomind import TurbomindPaging, TurbomindSettings, paged
from diag.planner.model.architecture import Architecture, AttentionCache, Weight
from diag.planner.unknown import NotKnown
from tests.planner.paging.models import COMPRESSED, FULL, GIB, LATENT, SPARSE, STATE, WINDOW, keeping

MIB = 2**20
LLAMA_8B = keeping(*[FULL] * 32)
BLOCK = 32 * 64 * 4096
"""8 MiB: 64 tokens."""
OF_0_14 = TurbomindPaging(slabs=False, states="pool")
OF_0_12 = TurbomindPaging(slabs=False, states="none", latent_heads=True, divides_heads=False)
OF_0_9 = TurbomindPaging(slabs=False, states="none", latent_heads=True)


def settings(paging: TurbomindPaging = OF_0_14, **changes: Any) -> TurbomindSettings:
    given: dict[str, Any] = {"session_len": 8192, "max_batch_size": 128, **changes}
    return TurbomindSettings(paging=paging, **given)


def of(
    model: Architecture, kv_bytes: int = 10 * GIB, paging: TurbomindPaging = OF_0_14, *, tp: int = 1, **changes: Any
) -> Paged:
    return paged(model, Split(tp=tp), settings(paging, **changes), kv_bytes)


def test_a_block_holds_64_tokens_of_every_layer():
    """As a log of InternVL2.5-8B on an A100 has it: blocks of 8 MiB, 6214 of them hold 397,696 tokens."""
    found = of(LLAMA_8B, 6214 * BLOCK + BLOCK // 2)
    assert (found.bytes_per_block, found.block_size, found.blocks) == (8 * MIB, 64, 6214)
    assert found.printed_tokens == 397_696


def test_a_longer_block_is_asked_for():
    """As a log of InternLM-7B has it: 64 MiB for 128 tokens of 32 layers of 32 heads, and 159 of them."""
    internlm = keeping(*[AttentionCache(kv_heads=32, head_dim=128, v_head_dim=128)] * 32, dtype="float16")
    found = of(internlm, 159 * 64 * MIB, cache_block_seq_len=128)
    assert (found.bytes_per_block, found.blocks) == (64 * MIB, 159)


@pytest.mark.parametrize(("policy", "layer"), [(8, 2 * 8 * 64 * (128 + 4)), (4, 2 * 8 * 64 * (64 + 4))])
def test_quantized_entries_have_a_scale_and_a_zero_point_a_head_and_token(policy, layer):
    assert of(LLAMA_8B, quant_policy=policy).bytes_per_block == 32 * layer


def test_windows_keep_every_token():
    assert of(keeping(WINDOW)).bytes_per_token == of(keeping(FULL)).bytes_per_token == 4096


@pytest.mark.parametrize(("tp", "part"), [(1, 1), (4, 4), (8, 8), (16, 8)])
def test_heads_are_divided_and_then_repeated(tp, part):
    assert of(LLAMA_8B, tp=tp).bytes_per_block == BLOCK // part


def test_in_0_12_blocks_were_as_large_as_those_of_one_rank():
    assert of(LLAMA_8B, paging=OF_0_12, tp=8).bytes_per_block == BLOCK


def latent(heads: int, query_dim: int) -> Architecture:
    model = keeping(*[LATENT] * 27, heads=heads, kv_heads=heads)
    queries = Weight(name="self_attn.q_proj", rows=heads * query_dim, columns=64)
    layers = tuple(msgspec.structs.replace(one, weights=(queries,)) for one in model.layers)
    return msgspec.structs.replace(model, layers=layers)


def test_a_compressed_entry_is_kept_once_on_every_rank():
    assert [of(latent(16, 192), tp=tp).bytes_per_token for tp in (1, 8)] == [27 * 576 * 2] * 2


@pytest.mark.parametrize(("paging", "tp", "heads"), [(OF_0_9, 1, 16), (OF_0_9, 4, 4), (OF_0_12, 4, 16)])
def test_before_0_12_2_latent_attention_kept_keys_and_values_of_all_heads(paging, tp, heads):
    assert of(latent(16, 192), paging=paging, tp=tp).bytes_per_token == 27 * 2 * heads * 192 * 2


QWEN35 = keeping(*[STATE, STATE, STATE, FULL] * 4)
STATES = 12 * 2 * (4 * 10_240 + 48 * 128 * 128)
"""Of a request: windows of four inputs, one more than is needed, and a matrix for each head, all in 16 bit."""
TWO_LAYERS = 4 * 64 * 4096


def test_until_0_14_states_of_every_request_are_taken_first():
    assert of(QWEN35).blocks == (10 * GIB - 128 * STATES) // TWO_LAYERS
    assert of(QWEN35, 127 * STATES).blocks == 0


def test_from_0_15_on_each_request_that_runs_takes_its_own():
    """8192 tokens are 128 MiB of blocks; 32 pages of 32 MiB hold 32 blocks each, one page is lost."""
    found = of(QWEN35, GIB, TurbomindPaging())
    request, usable = 128 * MIB + STATES, 31 * 32 * MIB
    assert found.request_bytes == request
    assert found.blocks == 6 * 128 + (usable - 7 * STATES - 6 * 128 * MIB) // MIB


def test_from_0_15_on_blocks_lie_in_slabs_of_whole_pages():
    """27 · 576 · 2 · 64 bytes: 16 in 32 MiB leave 5.07 %, in 64 MiB 33 leave 2.1 %; 159 whole pages are 79 of these."""
    found = of(latent(16, 192), 160 * 32 * MIB, TurbomindPaging())
    assert found.blocks == 79 * 33


def test_a_block_that_is_larger_than_a_page_gets_a_slab_of_its_own():
    wide = keeping(*[AttentionCache(kv_heads=32, head_dim=128, v_head_dim=128)] * 48)
    # 48 MiB: one in 64 MiB leaves a quarter, of 1 GiB 21 use 98 %
    assert of(wide, 33 * 32 * MIB, TurbomindPaging()).blocks == 21


def test_one_block_is_enough_to_start():
    assert [of(LLAMA_8B, blocks * BLOCK).starts for blocks in (0, 1)] == [False, True]


@pytest.mark.parametrize(
    ("model", "split", "changes", "why"),
    [
        (LLAMA_8B, Split(tp=1, pp=2), {}, "no pipeline stages"),
        (LLAMA_8B, Split(tp=1), {"quant_policy": 16}, "quant_policy 16 in TurboMind: it has 0, 4 and 8"),
        (keeping(AttentionCache(kv_heads=8, head_dim=64, v_head_dim=64)), Split(tp=1), {"quant_policy": 8}, "has 128"),
        (keeping(LATENT), Split(tp=1), {"quant_policy": 8}, "quantized cache of latent attention"),
        (keeping(msgspec.structs.replace(LATENT, dim=320)), Split(tp=1), {}, "320 elements in TurboMind: it has 576"),
        (keeping(SPARSE), Split(tp=1), {}, "sparse or compressed"),
        (keeping(COMPRESSED), Split(tp=1), {}, "sparse or compressed"),
        (keeping(STATE), Split(tp=1), {}, "a model without attention"),
        (keeping(FULL, encoder=True), Split(tp=1), {}, "serves no encoders"),
        (QWEN35, Split(tp=1), {"paging": OF_0_12}, "recurrent layers in TurboMind before 0.12.3"),
        (keeping(LATENT), Split(tp=1), {"paging": OF_0_9}, "how wide the queries"),
    ],
)
def test_what_is_not_known_is_said(model, split, changes, why):
    with pytest.raises(NotKnown, match=why):
        paged(model, split, settings(**changes), GIB)
