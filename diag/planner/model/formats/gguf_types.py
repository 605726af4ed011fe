"""How many bits does a ggml type spend on a weight? A file mixes types: ``Q4_K_M`` is a recipe, not a type.

Each type stores blocks of weights with their scales (ggml-common.h; the sizes are those of gguf 0.19, constants.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from diag.planner.model.formats.stored import Format
from diag.planner.unknown import NotKnown

BLOCKS: Mapping[str, tuple[int, int]] = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "Q8_0": (32, 34),
    "Q8_1": (32, 40),
    "Q8_K": (256, 292),
    "Q6_K": (256, 210),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q5_K": (256, 176),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q4_K": (256, 144),
    "Q3_K": (256, 110),
    "Q2_K": (256, 84),
    "Q1_0": (128, 18),
    "IQ4_NL": (32, 18),
    "IQ4_XS": (256, 136),
    "IQ3_S": (256, 110),
    "IQ3_XXS": (256, 98),
    "IQ2_S": (256, 82),
    "IQ2_XS": (256, 74),
    "IQ2_XXS": (256, 66),
    "IQ1_M": (256, 56),
    "IQ1_S": (256, 50),
    "TQ2_0": (256, 66),
    "TQ1_0": (256, 54),
    "MXFP4": (32, 17),
    "NVFP4": (64, 36),
}
"""Weights and bytes of a block."""

BITS: Mapping[str, float] = {name: 8 * size / weights for name, (weights, size) in BLOCKS.items()}


def gguf_format(type_name: str) -> Format:
    """Its scales are in its bits."""
    name = type_name.upper()
    if name not in BITS:
        raise NotKnown(f"ggml type {type_name!r}: the planner knows {', '.join(BITS)}")
    return Format(name="gguf", bits=BITS[name])
