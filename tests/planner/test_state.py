"""Recurrent states: the figures are vLLM's own for these models."""

from __future__ import annotations

import pytest

from diag.planner.model.architecture import StateCache
from diag.planner.model.state import conv_elements, state_bytes, temporal_elements, why_not

QWEN35_27B = StateCache(
    kind="gdn", conv_parts=((16, 128), (16, 128), (48, 128)), kernel=4, temporal=(48, 128, 128), temporal_bytes=4
)
NEMOTRON_H_56B = StateCache(
    kind="mamba2", conv_parts=((256, 64), (8, 256), (8, 256)), kernel=4, temporal=(256, 64, 256), temporal_bytes=4
)
KIMI_LINEAR = StateCache(
    kind="kda", conv_parts=((32, 128), (32, 128), (32, 128)), kernel=4, temporal=(32, 128, 128), temporal_bytes=4
)


@pytest.mark.parametrize(
    ("cache", "tp", "held"),
    [
        (QWEN35_27B, 1, 3_207_168),
        (QWEN35_27B, 8, 400_896),
        (NEMOTRON_H_56B, 8, 2_112_512),
        (KIMI_LINEAR, 1, 2_170_880),
        (KIMI_LINEAR, 4, 542_720),
    ],
)
def test_a_state_has_the_bytes_that_vllm_reserves(cache, tp, held):
    assert state_bytes(cache, tp=tp, dtype_bytes=2) == held


def test_a_state_is_a_window_of_inputs_and_a_matrix_for_each_head():
    assert conv_elements(QWEN35_27B, tp=1) == 3 * (16 * 128 + 16 * 128 + 48 * 128)
    assert temporal_elements(QWEN35_27B, tp=1) == 48 * 128 * 128


def test_a_drafted_token_lengthens_the_window():
    assert conv_elements(KIMI_LINEAR, tp=4, drafted=2) == 5 * 3 * 8 * 128


def test_groups_that_the_ranks_do_not_divide_are_extended_to_them():
    one_group = StateCache(kind="mamba2", conv_parts=((32, 64), (1, 128), (1, 128)), kernel=4, temporal=(32, 64, 128))
    assert conv_elements(one_group, tp=1) == 3 * (32 * 64 + 2 * 128)
    assert conv_elements(one_group, tp=8) == 3 * (4 * 64 + 2 * 128)


def test_a_convolution_alone_has_no_temporal_state():
    short = StateCache(kind="short_conv", conv_parts=((2048, 1),), kernel=3)
    assert state_bytes(short, tp=2, dtype_bytes=2) == 1024 * 2 * 2
    assert why_not(short, tp=2) is None


@pytest.mark.parametrize(
    ("cache", "tp", "why"),
    [
        (QWEN35_27B, 8, None),
        (QWEN35_27B, 32, "48 gdn heads do not divide by tensor parallel 32"),
        (NEMOTRON_H_56B, 16, "8 mamba2 groups do not divide by tensor parallel 16"),
        (KIMI_LINEAR, 32, None),
    ],
)
def test_heads_and_groups_must_divide(cache, tp, why):
    assert why_not(cache, tp=tp) == why
