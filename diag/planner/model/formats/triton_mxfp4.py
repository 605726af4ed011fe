"""What does Triton's kernel for MXFP4 experts hold on Hopper? gpt-oss in vLLM since 0.11, other models never.

It turns both operands into a layout of its own. Values: columns to whole blocks of 64; from 0.17 to 0.21 their bytes to
64, that is 128 columns (third_party/triton_kernels/tensor_details/layout_details/hopper_value.py, SWIZZLE_ALIGN).
Scales: rows to 256, columns to 2 blocks (hopper_scale.py with 8 warps). Scales as they were loaded stay beside these
until 0.25, which deletes them (fused_moe/oracle/mxfp4.py; before quantization/mxfp4.py). An expert's inner size is a
multiple of 64 (mxfp4_round_up_hidden_size_and_intermediate_size), biases become 32 bit wide.
Logged: gpt-oss-120b 64.38 GiB with 0.11 and 0.14.1 and 61.29 with 0.25.1, gpt-oss-20b 13.64 and with TP 2 7.01 with
0.19.0; this says 64.55, 61.20, 13.66, 6.99. Not known: 0.21, which could not be read, counts as 0.20.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from diag.planner.model.architecture import Weight
from diag.planner.model.formats.stored import Format

SINCE = (0, 11)
"""Before, Marlin: 65.97 GiB of gpt-oss-120b on an H100 with 0.10.1."""
WIDE_SINCE, WIDE_BEFORE = (0, 17), (0, 22)
FREES_SINCE = (0, 25)
INNER = 64
BYTES_OF_A_TILE = 64
SCALE_ROWS, SCALE_COLUMNS = 256, 64
WIDER_BIAS_BYTES = 2


def in_triton(weight: Weight, form: Format, version: tuple[int, ...] | None) -> Iterator[Weight]:
    """``weight`` of an expert as the kernel has it, and what stays beside it; ``version`` None: the newest."""
    release = FREES_SINCE if version is None else version
    columns = 2 * BYTES_OF_A_TILE if WIDE_SINCE <= release < WIDE_BEFORE else INNER
    rows = INNER * (2 if "gate_up" in weight.name else 1) if weight.shard == "rows" else 1
    values = msgspec.structs.replace(form, scale_bytes=0, multiple=(rows, columns))
    scales = msgspec.structs.replace(form, bits=0)
    turned = msgspec.structs.replace(scales, multiple=(SCALE_ROWS, SCALE_COLUMNS))
    yield msgspec.structs.replace(weight, format=values)
    yield _beside(weight, "scales for its kernel", turned)
    if release < FREES_SINCE:
        yield _beside(weight, "scales as loaded", msgspec.structs.replace(scales, multiple=(rows, INNER)))
    if weight.bias:
        yield _wider_bias(weight)


def _beside(weight: Weight, told: str, form: Format) -> Weight:
    return msgspec.structs.replace(weight, name=f"{weight.name} {told}", format=form, bias=False, stored=False)


def _wider_bias(weight: Weight) -> Weight:
    """Two bytes more of each output; of the columns' ranks each has all."""
    return msgspec.structs.replace(
        weight,
        name=f"{weight.name} bias in 32 bit",
        format=None,
        columns=1,
        bias=False,
        dtype_bytes=WIDER_BIAS_BYTES,
        linear=False,
        stored=False,
        shard="rows" if weight.shard == "rows" else "whole",
    )
