"""Bytes of stored matrices: against the tensors that vLLM 0.32 creates, and the sizes that formats are known by."""

from __future__ import annotations

import pytest

from diag.planner.model.formats import stored
from diag.planner.model.formats.gguf_types import BITS, gguf_format
from diag.planner.model.formats.stored import (
    Format,
    fp8_block,
    grouped,
    matrix_bytes,
    refined,
    why_not_divided,
    why_not_marlin,
)
from diag.planner.unknown import NotKnown


def test_a_matrix_of_no_format_has_the_dtype_of_the_model():
    assert matrix_bytes(None, 2, 5120, 25600) == 5120 * 25600 * 2


def test_fp8_in_blocks_as_in_qwen3_32b():
    """mlp.down_proj: weight [5120, 25600] of 1 byte, weight_scale_inv [40, 200] of 4."""
    assert matrix_bytes(fp8_block(128, 128), 2, 5120, 25600) == 5120 * 25600 + 40 * 200 * 4


def test_a_last_block_may_be_a_part_as_in_deepseek_v3():
    """kv_a_proj_with_mqa: [576, 7168], 5 × 56 blocks; with q_a_proj [1536, 7168] vLLM's 17 × 56 together."""
    kv, queries = (matrix_bytes(fp8_block(128, 128), 2, rows, 7168) for rows in (576, 1536))
    assert kv == 576 * 7168 + 5 * 56 * 4
    assert kv + queries == 2112 * 7168 + 17 * 56 * 4


def test_nvfp4_as_in_deepseek_v3_1():
    """o_proj: weight [7168, 8192] uint8, weight_scale [7168, 1024] fp8, weight_scale_2 and input_scale [1] float32."""
    assert matrix_bytes(stored.NVFP4, 2, 7168, 16384) == 7168 * 8192 + 7168 * 1024 + 4 + 4


def test_int4_in_groups_as_in_kimi_k2_5():
    """One expert's w2: weight_packed [7168, 256] int32, weight_scale [7168, 64] bfloat16."""
    form = grouped("int4_weights", 4, 32, scale_bytes=2, zeros=False)
    assert matrix_bytes(form, 2, 7168, 2048) == 7168 * 256 * 4 + 7168 * 64 * 2


def test_mxfp4_as_in_gpt_oss():
    """One expert's w2 as vLLM's Marlin pads it: [3072, 1472] and scales [3072, 92], of 2880 × 2880."""
    padded = Format(name="mxfp4", bits=4, block=(1, 32), scale_bytes=1, multiple=(256, 128))
    assert matrix_bytes(padded, 2, 2880, 2880) == 3072 * (1472 + 92)
    assert matrix_bytes(stored.MXFP4, 2, 2880, 2880) == 2880 * (1440 + 90)


@pytest.mark.parametrize(
    ("form", "bits"),
    [
        (grouped("awq", 4, 128, scale_bytes=2, zeros=True), 4.15625),
        (grouped("gptq", 4, 128, scale_bytes=2, zeros=False), 4.125),
        (grouped("gptq", 8, -1, scale_bytes=2, zeros=False), 8 + 16 / 4096),
        (stored.FP8_ROWS, 8 + 32 / 4096),
        (stored.MXFP8, 8.25),
        (stored.MXFP4, 4.25),
        (stored.BNB4, 4.5),
        (fp8_block(128, 128), 8 + 32 / 128**2),
        (gguf_format("Q4_K"), 4.5),
        (gguf_format("q8_0"), 8.5),
    ],
)
def test_bits_of_a_weight_are_those_the_format_is_known_by(form, bits):
    assert matrix_bytes(form, 2, 4096, 4096) * 8 == bits * 4096 * 4096


def test_parts_of_a_matrix_are_as_many_bytes_as_the_whole():
    whole = matrix_bytes(fp8_block(128, 128), 2, 4096, 4096)
    assert 8 * matrix_bytes(fp8_block(128, 128), 2, 512, 4096) == whole
    assert 8 * matrix_bytes(fp8_block(128, 128), 2, 4096, 512) == whole


def test_an_empty_part_has_no_bytes():
    assert matrix_bytes(fp8_block(128, 128), 2, 0, 4096) == 0


def test_blocks_of_128_are_not_cut():
    """DeepSeek-R1's shared expert over 32 ranks."""
    why = why_not_divided(fp8_block(128, 128), 2048, 7168, tp=32, shard="rows")
    assert why == "64 of 2048 rows on a rank are not whole blocks of 128 (fp8_block)"
    assert why_not_divided(fp8_block(128, 128), 2048, 7168, tp=16, shard="rows") is None


def test_groups_are_not_cut_where_columns_are_divided():
    awq = grouped("awq", 4, 128, scale_bytes=2, zeros=True)
    assert why_not_divided(awq, 5120, 13824, tp=8, shard="columns") == (
        "1728 of 13824 columns on a rank are not whole blocks of 128 (awq)"
    )
    assert why_not_divided(awq, 13824, 5120, tp=8, shard="rows") is None
    assert why_not_divided(stored.NVFP4, 2048, 704, tp=8, shard="columns") is not None
    assert why_not_divided(grouped("gptq", 4, -1, scale_bytes=2, zeros=False), 8, 1000, tp=8, shard="columns") is None


def test_what_is_not_divided_or_has_no_blocks_is_never_refused():
    assert why_not_divided(fp8_block(128, 128), 576, 7168, tp=8, shard="whole") is None
    assert why_not_divided(None, 576, 7168, tp=8, shard="rows") is None
    assert why_not_divided(fp8_block(128, 128), 576, 7168, tp=1, shard="rows") is None


def test_rows_that_do_not_divide_are_said_first():
    assert why_not_divided(stored.FP8, 100, 10, tp=8, shard="rows") == "100 rows do not divide by 8"


def test_marlin_wants_whole_tiles():
    assert why_not_marlin(stored.FP8, 5120, 13824, tp=8, shard="columns") == (
        "1728 columns on a rank are no multiple of 128 (Marlin)"
    )
    assert (
        why_not_marlin(stored.FP8, 288, 512, tp=8, shard="rows") == "36 rows on a rank are no multiple of 64 (Marlin)"
    )
    assert why_not_marlin(stored.FP8, 5120, 13824, tp=4, shard="columns") is None
    assert why_not_marlin(None, 5, 7, tp=1, shard="rows") is None


def test_blocks_are_refined_to_what_the_part_allows():
    """Qwen3-235B-A22B-FP8 over 8 ranks: 192 of 1536 rows, blocks of 64."""
    finer = refined(fp8_block(128, 128), 192, 4096)
    assert finer is not None
    assert finer.block == (64, 64)
    assert refined(fp8_block(128, 128), 24, 4096) is None
    assert refined(stored.NVFP4, 192, 4096) is None


@pytest.mark.may_skip
def test_ggml_types_agree_with_the_gguf_package():
    constants = pytest.importorskip("gguf.constants")
    sizes = {one.name: 8 * size / block for one, (block, size) in constants.GGML_QUANT_SIZES.items()}
    assert {name: sizes[name] for name in BITS if name in sizes} == {name: BITS[name] for name in BITS if name in sizes}


def test_a_recipe_is_no_type():
    with pytest.raises(NotKnown, match="Q4_K_M"):
        gguf_format("Q4_K_M")
