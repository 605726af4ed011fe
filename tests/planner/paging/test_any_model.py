"""Whatever a model keeps: does more memory hold more, and does a longer context need more?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diag.planner.memory.paging import lmdeploy, ollama, sglang, turbomind, vllm
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.split import Split
from diag.planner.memory.paging.versions import VLLM_PAGING
from diag.planner.model.architecture import Architecture, AttentionCache
from tests.planner.paging.models import GIB, LATENT, SPARSE, STATE, keeping, laid_out

CHECKED = settings(max_examples=100, deadline=None, derandomize=True, database=None)
BYTES = st.integers(0, 64 * GIB)
LENGTHS = st.integers(1, 131_072)
VERSIONS = st.sampled_from([rules.since for rules in VLLM_PAGING if rules.hybrid])
"""Older ones keep no states beside attention."""


@st.composite
def attending(draw: st.DrawFn) -> Architecture:
    """Layers of one shape, some with a window or a chunk."""
    heads, dim = draw(st.sampled_from([1, 2, 8, 16])), draw(st.sampled_from([64, 128, 256]))
    far, near = draw(st.integers(1, 4096)), draw(st.integers(1, 8192))
    kinds = [
        AttentionCache(kv_heads=heads, head_dim=dim, v_head_dim=dim),
        AttentionCache(kv_heads=heads, head_dim=dim, v_head_dim=dim, window=far),
        AttentionCache(kv_heads=heads, head_dim=dim, v_head_dim=dim, chunk=near),
    ]
    return keeping(*draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=24)), name="GptOssForCausalLM")


HYBRID = keeping(*[STATE, STATE, STATE, AttentionCache(kv_heads=4, head_dim=256, v_head_dim=256)] * 4)
MODELS = st.one_of(attending(), st.sampled_from([keeping(*[LATENT] * 8), keeping(*[SPARSE] * 8), HYBRID]))
SPLITS = st.builds(Split, tp=st.sampled_from([1, 2, 4, 8, 16]))


def by_vllm(model: Architecture, split: Split, length: int, kv_bytes: int) -> Paged:
    return vllm.paged(laid_out(model, tp=split.tp, max_model_len=length), kv_bytes)


def by_sglang(model: Architecture, split: Split, length: int, kv_bytes: int) -> Paged:
    return sglang.paged(model, split, sglang.SglangSettings(context_length=length), kv_bytes)


def by_lmdeploy(model: Architecture, split: Split, length: int, kv_bytes: int) -> Paged:
    return lmdeploy.paged(model, split, lmdeploy.LmdeploySettings(session_len=length, max_batch_size=8), kv_bytes)


def by_turbomind(model: Architecture, split: Split, length: int, kv_bytes: int) -> Paged:
    """With slabs; it serves no sparse attention."""
    assume(not any(cache == SPARSE for layer in model.layers for cache in layer.caches))
    return turbomind.paged(model, split, turbomind.TurbomindSettings(session_len=length, max_batch_size=8), kv_bytes)


ENGINES = pytest.mark.parametrize("paged", [by_vllm, by_sglang, by_lmdeploy, by_turbomind])
Paging = Callable[[Architecture, Split, int, int], Paged]


@ENGINES
@CHECKED
@given(model=MODELS, split=SPLITS, length=LENGTHS, two=st.tuples(BYTES, BYTES))
def test_more_memory_never_holds_fewer_tokens(paged: Paging, model, split, length, two):
    less, more = (paged(model, split, length, kv_bytes) for kv_bytes in sorted(two))
    assert less.printed_tokens <= more.printed_tokens
    assert less.capacity_tokens <= more.capacity_tokens
    assert less.starts <= more.starts


@ENGINES
@CHECKED
@given(model=MODELS, split=SPLITS, lengths=st.tuples(LENGTHS, LENGTHS), kv_bytes=BYTES)
def test_a_longer_context_never_needs_less(paged: Paging, model, split, lengths, kv_bytes):
    short, long = (paged(model, split, length, kv_bytes) for length in sorted(lengths))
    assert short.request_blocks <= long.request_blocks
    assert short.request_bytes <= long.request_bytes
    assert short.max_concurrency >= long.max_concurrency
    assert short.starts >= long.starts


@ENGINES
@CHECKED
@given(model=MODELS, split=SPLITS, length=LENGTHS, kv_bytes=BYTES)
def test_no_more_is_handed_out_than_there_is(paged: Paging, model, split, length, kv_bytes):
    found = paged(model, split, length, kv_bytes)
    assert found.blocks * found.bytes_per_block <= kv_bytes
    assert not found.starts or found.blocks > 0


@CHECKED
@given(model=MODELS, split=SPLITS, version=VERSIONS)
def test_every_page_is_in_one_group_and_no_group_is_larger_than_a_block(model, split, version):
    layout = laid_out(model, version, tp=split.tp)
    assert sorted(one.layer for group in layout.groups for one in group) == sorted(one.layer for one in layout.kept)
    assert all(sum(one.page.bytes for one in group) <= layout.bytes_per_block for group in layout.groups)


@CHECKED
@given(model=attending(), version=VERSIONS, kv_bytes=BYTES, limit=LENGTHS)
def test_the_longest_context_starts_and_one_more_token_does_not(model, version, kv_bytes, limit):
    found = vllm.longest(laid_out(model, version), kv_bytes, limit)
    if found:
        assert vllm.paged(laid_out(model, version, max_model_len=found), kv_bytes).starts
    if found < limit:
        assert not vllm.paged(laid_out(model, version, max_model_len=found + 1), kv_bytes).starts


@CHECKED
@given(model=MODELS, version=VERSIONS, tp=st.sampled_from([1, 2, 4, 8]))
def test_more_ranks_never_take_more_memory_each(model, version, tp):
    one, two = (laid_out(model, version, tp=ranks) for ranks in (tp, 2 * tp))
    assert vllm.paged(two, GIB).bytes_per_token <= vllm.paged(one, GIB).bytes_per_token


def streams(num_ctx: int, num_parallel: int = 1) -> ollama.OllamaSettings:
    return ollama.OllamaSettings(num_ctx=num_ctx, num_parallel=num_parallel)


LLAMA_CPP = st.one_of(attending(), st.sampled_from([keeping(*[LATENT] * 8), HYBRID]))


@CHECKED
@given(model=LLAMA_CPP, lengths=st.tuples(LENGTHS, LENGTHS))
def test_a_longer_stream_never_takes_less(model, lengths):
    short, long = (ollama.stream_bytes(model, streams(length)) for length in sorted(lengths))
    assert short <= long


@CHECKED
@given(model=LLAMA_CPP, kv_bytes=BYTES, parallel=st.integers(1, 8))
def test_the_longest_stream_fits_and_the_next_does_not(model, kv_bytes, parallel):
    found = ollama.longest(model, streams(256, parallel), kv_bytes)
    if found:
        assert ollama.paged(model, streams(found, parallel), kv_bytes).starts
    if found < model.max_len:
        assert not ollama.paged(model, streams(found + 256, parallel), kv_bytes).starts
