"""Bytes of llama.cpp's cache, one stream a request, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from diag.planner.memory.paging.ollama import OllamaSettings, longest, paged, stream_bytes
from diag.planner.memory.paging.paged import Paged
from diag.planner.unknown import NotKnown
from tests.planner.paging.models import CHUNK, COMPRESSED, FULL, GIB, LATENT, SPARSE, STATE, WINDOW, keeping

LLAMA_8B = keeping(*[FULL] * 32)
TOKEN = 32 * 4096


def settings(**changes: Any) -> OllamaSettings:
    given: dict[str, Any] = {"num_ctx": 8192, **changes}
    return OllamaSettings(**given)


def of(model, kv_bytes: int = 10 * GIB, **changes: Any) -> Paged:
    return paged(model, settings(**changes), kv_bytes)


def test_a_request_has_a_stream_of_its_whole_context():
    found = of(LLAMA_8B, num_parallel=4)
    assert (found.request_bytes, found.bytes_per_token) == (8192 * TOKEN, TOKEN)
    assert (found.capacity_tokens, found.max_requests, found.max_concurrency) == (4 * 8192, 4, 4.0)


@pytest.mark.parametrize(("num_ctx", "cells"), [(1, 256), (256, 256), (257, 512), (4096, 4096), (5000, 5120)])
def test_a_stream_is_rounded_up_to_256_cells(num_ctx, cells):
    assert stream_bytes(LLAMA_8B, settings(num_ctx=num_ctx)) == cells * TOKEN


@pytest.mark.parametrize(
    ("k_type", "v_type", "head"),
    [
        ("f16", "f16", 128 * 4),
        ("q8_0", "q8_0", 2 * 128 * 34 // 32),
        ("q8_0", "q4_0", 128 * 34 // 32 + 128 * 18 // 32),
        ("f32", "f16", 128 * 6),
    ],
)
def test_keys_and_values_have_types_of_their_own(k_type, v_type, head):
    assert of(LLAMA_8B, k_type=k_type, v_type=v_type).bytes_per_token == 32 * 8 * head


def test_a_window_has_only_its_cells_and_those_of_a_batch():
    """128 + 512 are 640, 768 in whole 256; a chunk of 256 and 512 too."""
    assert stream_bytes(keeping(WINDOW), settings()) == 768 * 4096
    assert stream_bytes(keeping(CHUNK), settings()) == 768 * 4096
    assert stream_bytes(keeping(WINDOW), settings(num_batch=2048)) == 2304 * 4096
    assert stream_bytes(keeping(WINDOW), settings(num_ctx=512)) == 512 * 4096
    assert of(keeping(WINDOW, FULL)).bytes_per_token == 4096


def test_latent_attention_keeps_no_values():
    assert of(keeping(*[LATENT] * 61)).bytes_per_token == 70_272


def test_a_state_is_one_a_request_in_32_bit():
    state = (3 * 10_240 + 48 * 128 * 128) * 4
    assert stream_bytes(keeping(STATE, FULL), settings()) == state + 8192 * 4096


def test_all_streams_must_fit():
    need = 4 * 8192 * TOKEN
    assert of(LLAMA_8B, need, num_parallel=4).starts
    assert not of(LLAMA_8B, need - 1, num_parallel=4).starts


def test_the_longest_context_is_in_whole_cells_up_to_what_the_model_knows():
    assert longest(LLAMA_8B, settings(), 1000 * TOKEN) == 768
    assert longest(LLAMA_8B, settings(num_parallel=3), 1000 * TOKEN) == 256
    assert longest(LLAMA_8B, settings(), 100 * TOKEN) == 0
    assert longest(LLAMA_8B, settings(), 1000 * GIB) == 131_072


@pytest.mark.parametrize(
    ("model", "changes", "why"),
    [
        (keeping(FULL, encoder=True), {}, "an encoder"),
        (keeping(SPARSE), {}, "sparse and compressed attention"),
        (keeping(COMPRESSED), {}, "sparse and compressed attention"),
        (LLAMA_8B, {"k_type": "q2_0"}, "a KV cache of type 'q2_0': known are f32"),
    ],
)
def test_what_is_not_known_is_said(model, changes, why):
    with pytest.raises(NotKnown, match=why):
        of(model, **changes)
