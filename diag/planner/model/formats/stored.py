"""How is one matrix stored, in how many bytes, and may ranks divide it?

A format says how many bits an element has and what scales it; nothing here knows which weights have it.
"""

from __future__ import annotations

import math

import msgspec

LEAST_BLOCK = 32
"""vLLM makes the blocks of experts finer down to this many rows and columns (fused_moe/oracle/fp8.py)."""

MARLIN_ROWS, MARLIN_COLUMNS = 64, 128


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """How the elements of one matrix are stored: their bits, and what scales them.

    ``block``: rows × columns that share a scale; 0 stands for all of them, so (0, 0) is one scale a matrix, (1, 0) one
    a row and (1, 128) one for each 128 inputs of a row.
    """

    name: str
    """``fp8``, ``fp8_block``, ``int4``, ``awq``, ``nvfp4``, ``mxfp4``, …: the rows of ``formats.py``."""
    bits: float
    block: tuple[int, int] = (0, 0)
    scale_bytes: float = 0.0
    zero_bits: float = 0.0
    """Of the zero point beside each scale."""
    extra_bytes: int = 0
    """A matrix: global and input scales."""
    multiple: tuple[int, int] = (1, 1)
    """What one rank holds is padded to multiples of these rows and columns."""


FP8 = Format(name="fp8", bits=8, scale_bytes=4)
"""One scale a matrix. A static input scale is 4 bytes more."""
FP8_STATIC = Format(name="fp8", bits=8, scale_bytes=4, extra_bytes=4)
FP8_ROWS = Format(name="fp8", bits=8, block=(1, 0), scale_bytes=4)
MXFP8 = Format(name="mxfp8", bits=8, block=(1, 32), scale_bytes=1)
INT8_ROWS = Format(name="int8", bits=8, block=(1, 0), scale_bytes=4)
MXFP4 = Format(name="mxfp4", bits=4, block=(1, 32), scale_bytes=1)
NVFP4 = Format(name="nvfp4", bits=4, block=(1, 16), scale_bytes=1, extra_bytes=8)
"""A global scale of the weights and one of the inputs beside the scales of 16."""
NVFP4A16 = Format(name="nvfp4a16", bits=4, block=(1, 16), scale_bytes=1, extra_bytes=8)
"""Weights only: some files hold the scale of the inputs, engines drop it."""
BNB4 = Format(name="bnb4", bits=4, block=(1, 64), scale_bytes=4)
"""Blocks of 64 run on over the rows. Files may quantize the scales too (0.127 bits, not 0.5); vLLM undoes that."""
BNB8 = Format(name="bnb8", bits=8, block=(1, 0), scale_bytes=4)


def fp8_block(rows: int, columns: int, *, scale_bytes: int = 4) -> Format:
    return Format(name="fp8_block", bits=8, block=(rows, columns), scale_bytes=scale_bytes)


def grouped(name: str, bits: int, group: int, *, scale_bytes: int, zeros: bool) -> Format:
    """Integers with a scale for each ``group`` inputs of a row; -1: for each row."""
    block = (1, max(0, group))
    return Format(name=name, bits=bits, block=block, scale_bytes=scale_bytes, zero_bits=bits if zeros else 0)


def matrix_bytes(stored: Format | None, dtype_bytes: float, rows: int, columns: int) -> int:
    """Of one matrix that is already divided, with scales and zero points; None: elements of ``dtype_bytes``.

    It is what vLLM creates before it loads. What an engine makes of it then (kernels that want other scales or
    padding) is in ``held.py``; scales of a whole matrix, which it merges, are a few bytes.
    """
    if stored is None:
        return int(rows * columns * dtype_bytes)
    rows, columns = (_up(size, multiple) for size, multiple in zip((rows, columns), stored.multiple, strict=True))
    blocks = math.prod(
        -(-size // (side or size or 1)) for size, side in zip((rows, columns), stored.block, strict=True)
    )
    bits = rows * columns * stored.bits + blocks * (8 * stored.scale_bytes + stored.zero_bits)
    return math.ceil(bits / 8) + stored.extra_bytes


def why_not_divided(stored: Format | None, rows: int, columns: int, *, tp: int, shard: str) -> str | None:
    """Which rule forbids ``tp`` ranks to divide a matrix of rows × columns by ``shard``; None: it divides.

    A scale belongs to whole blocks, so each rank needs whole blocks of the divided side (vLLM: fp8_utils.py,
    validate_fp8_block_shape; marlin_utils.py, check_marlin_supports_layer). Heads are merged (q, k, v) and need not.
    """
    if stored is None or tp == 1 or shard not in {"rows", "columns"}:
        return None
    size, side = (rows, stored.block[0]) if shard == "rows" else (columns, stored.block[1])
    if size % tp:
        return f"{size} {shard} do not divide by {tp}"
    if side > 1 and size // tp % side and stored.multiple == (1, 1):
        return f"{size // tp} of {size} {shard} on a rank are not whole blocks of {side} ({stored.name})"
    return None


def why_not_marlin(stored: Format | None, rows: int, columns: int, *, tp: int, shard: str) -> str | None:
    """Which rule of Marlin a part breaks: whole tiles of 64 rows and 128 columns; None: none.

    vLLM pads to tiles from 0.24 on; before, AWQ and GPTQ fell back to slower kernels and FP8 or FP4 failed to load
    (marlin_utils.py, verify_marlin_supports_shape).
    """
    if stored is None:
        return None
    rows, columns = (rows // tp if shard == "rows" else rows), (columns // tp if shard == "columns" else columns)
    for size, tile, side in ((rows, MARLIN_ROWS, "rows"), (columns, MARLIN_COLUMNS, "columns")):
        if size % tile:
            return f"{size} {side} on a rank are no multiple of {tile} (Marlin)"
    return None


def refined(stored: Format, rows: int, columns: int) -> Format | None:
    """The format with blocks fine enough for a part of ``rows`` × ``columns`` of an expert; None: no such blocks.

    Engines that refine (vLLM 0.32, FP8 experts in its Triton kernels) repeat each scale for the smaller blocks.
    """
    finer = math.gcd(*stored.block, rows, columns)
    if stored.name != "fp8_block" or finer < LEAST_BLOCK:
        return None
    return msgspec.structs.replace(stored, block=(finer, finer))


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
