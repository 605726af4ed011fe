"""Tokens, pools and requests that SGLang makes of a rank's KV memory, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from diag.planner.memory.paging import sglang
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.sglang import SglangSettings, max_requests, paged
from diag.planner.memory.paging.split import Split, sglang_stage
from diag.planner.model.formats.quantization import Quantization
from diag.planner.unknown import NotKnown
from tests.planner.paging.models import COMPRESSED, FULL, GIB, LATENT, SPARSE, STATE, WINDOW, keeping

LLAMA_8B = keeping(*[FULL] * 32)
TOKEN = 32 * 4096


def of(model, kv_bytes: int = 10 * GIB, *, split: Split | None = None, **changes: Any) -> Paged:
    given: dict[str, Any] = {"context_length": 8192, **changes}
    return paged(model, split or Split(tp=1), SglangSettings(**given), kv_bytes)


def test_a_token_takes_its_place_in_every_layer():
    found = of(LLAMA_8B)
    assert (found.bytes_per_token, found.printed_tokens, found.capacity_tokens) == (TOKEN, 81_920, 81_920)
    assert (found.max_concurrency, found.request_bytes) == (10.0, GIB)


def test_tokens_are_whole_pages():
    assert of(LLAMA_8B, 100 * TOKEN, page_size=64).printed_tokens == 64
    assert of(LLAMA_8B, 100 * TOKEN).printed_tokens == 100


@pytest.mark.parametrize(("tp", "part"), [(1, 1), (2, 2), (8, 8), (16, 8)])
def test_heads_are_divided_and_then_repeated(tp, part):
    assert of(LLAMA_8B, split=Split(tp=tp)).bytes_per_token == TOKEN / part


@pytest.mark.parametrize(("layers", "stages"), [(61, 4), (7, 7), (126, 16), (5, 8)])
def test_stages_follow_each_other_and_only_the_last_are_longer(layers, stages):
    found = [sglang_stage(layers, Split(tp=1, pp=stages, stage=stage)) for stage in range(stages)]
    assert [number for stage in found for number in stage] == list(range(layers))
    assert [len(stage) for stage in found] == sorted(layers // stages + (n < layers % stages) for n in range(stages))


def test_states_of_all_stages_are_counted_once_for_a_model():
    """A search asks for them thousands of times."""
    model, before = keeping(*[FULL, STATE] * 8), sglang._state_bytes.cache_info().misses
    for stage in range(4):
        of(model, split=Split(tp=1, pp=4, stage=stage))
    assert sglang._state_bytes.cache_info().misses == before + 1


def test_layers_that_do_not_divide_go_to_the_last_stages():
    """61 layers in four stages are 15, 15, 15 and 16."""
    model = keeping(*[LATENT] * 61)
    tokens = [of(model, split=Split(tp=1, pp=4, stage=stage)).bytes_per_token for stage in range(4)]
    assert tokens == [15 * 1152, 15 * 1152, 15 * 1152, 16 * 1152]


@pytest.mark.parametrize(
    ("dtype", "token"),
    [("auto", 4096), ("bf16", 4096), ("fp8_e4m3", 2048), ("fp8_e5m2", 2048), ("mxfp8", 2048 * 33 // 32)],
)
def test_a_cache_of_fewer_bits_is_smaller(dtype, token):
    assert of(keeping(FULL), kv_cache_dtype=dtype).bytes_per_token == token


def test_auto_is_what_the_checkpoint_asks_for():
    asks = keeping(FULL, quantization=Quantization(method="modelopt", kv_cache_dtype="fp8"))
    assert of(asks).bytes_per_token == 2048


GPT_OSS = keeping(*[WINDOW, FULL] * 12, name="GptOssForCausalLM")


def test_windows_of_some_classes_have_a_pool_of_their_own():
    """A cell is the full layers' and 0.8 of the others'; the second pool holds 0.8 of the first one's tokens."""
    found = of(GPT_OSS)
    assert found.bytes_per_token == 12 * 4096 * 1.8
    assert found.printed_tokens == int(10 * GIB // (12 * 4096 * 1.8))
    assert found.starts


def test_windows_of_other_classes_keep_every_token():
    assert of(keeping(*[WINDOW, FULL] * 12)).bytes_per_token == 24 * 4096
    assert of(GPT_OSS, hybrid_swa=False).bytes_per_token == 24 * 4096


def test_the_second_pool_must_hold_more_than_a_window():
    """129 tokens in it are 0.8 · 162 in the first."""
    cell = 12 * 4096 * 1.8
    assert not of(GPT_OSS, int(161 * cell) + 1, page_size=1).starts
    assert of(GPT_OSS, int(163 * cell) + 1, page_size=1).starts


def test_a_small_second_pool_limits_what_requests_hold():
    found = of(GPT_OSS, swa_full_tokens_ratio=0.01)
    windows = int(found.printed_tokens * 0.01)
    assert found.capacity_tokens == windows * 8192 // (128 + 1) < found.printed_tokens


def test_a_model_of_windows_alone_has_one_pool():
    found = of(keeping(*[WINDOW] * 4, name="GptOssForCausalLM"))
    assert found.bytes_per_token == 4 * 4096
    assert found.printed_tokens == 10 * GIB // (4 * 4096)


QWEN35 = keeping(*[STATE, STATE, STATE, FULL] * 4)
STATES = 12 * (3 * 10_240 * 2 + 48 * 128 * 128 * 4)


SLOTS = 9 * GIB // STATES
"""Of 19 GiB, one of them padding."""


def test_states_get_nine_parts_of_nineteen_and_tokens_the_rest():
    found = of(QWEN35, 19 * GIB)
    assert found.max_requests == (SLOTS - 1) // 5
    assert found.printed_tokens == (19 * GIB - SLOTS * STATES) // (4 * 4096)
    assert found.request_bytes == 8192 * 4 * 4096 + 5 * STATES


def test_fewer_states_a_request_let_more_requests_run():
    assert of(QWEN35, 19 * GIB, states_per_request=1).max_requests == SLOTS - 1


@pytest.mark.parametrize(
    ("tokens", "slots", "asked", "requests"),
    [
        (81_920, None, None, 4096),
        (8192, None, None, 2048),
        (1000, None, None, 500),
        (81_920, None, 64, 64),
        (81_920, 100, None, 20),
    ],
)
def test_requests_are_512_for_each_context_within_bounds(tokens, slots, asked, requests):
    assert max_requests(tokens, slots, SglangSettings(context_length=8192, max_running_requests=asked)) == requests


@pytest.mark.parametrize(
    ("capability", "dtype", "entry"),
    [
        ((9, 0), "auto", 576 * 2),
        ((9, 0), "fp8_e4m3", 656),
        ((10, 0), "auto", 576),
        ((10, 0), "bf16", 576 * 2),
    ],
)
def test_a_sparse_model_keeps_8_bit_entries_packed_on_hopper_and_plain_on_blackwell(capability, dtype, entry):
    found = of(keeping(SPARSE), compute_capability=capability, kv_cache_dtype=dtype)
    assert found.bytes_per_token == entry + 132


@pytest.mark.parametrize(
    ("model", "changes", "why"),
    [
        (keeping(FULL, encoder=True), {}, "an encoder"),
        (keeping(COMPRESSED), {}, "compressed layers"),
        (keeping(STATE), {}, "a model without attention"),
        (keeping(FULL), {"kv_cache_dtype": "int2"}, "a KV cache of dtype 'int2' in SGLang"),
    ],
)
def test_what_is_not_known_is_said(model, changes, why):
    with pytest.raises(NotKnown, match=why):
        of(model, **changes)


def test_no_memory_is_no_token():
    found = of(LLAMA_8B, -GIB)
    assert (found.printed_tokens, found.max_requests, found.starts) == (0, 0, False)
