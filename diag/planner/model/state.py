"""How large is the recurrent state of one layer and one sequence on one of T ranks?

The window of the causal convolution holds kernel - 1 inputs of each channel, in the model's dtype, and one more for
each drafted token; the temporal state is a matrix a head. Both are divided by heads. The groups of a Mamba 2 that T
does not divide are extended to T, so that each rank has those its heads need. Source: vLLM's layers/mamba
(mamba_utils.py, MambaStateShapeCalculator; mamba_mixer2.py).
"""

from __future__ import annotations

import math

from diag.planner.model.architecture import StateCache

EXTENDED = "mamba2"
"""The kind whose groups may be fewer than the ranks."""


def state_bytes(cache: StateCache, *, tp: int, dtype_bytes: int, drafted: int = 0) -> int:
    """``drafted``: tokens that are guessed ahead of each step."""
    conv = conv_elements(cache, tp=tp, drafted=drafted) * dtype_bytes
    return conv + temporal_elements(cache, tp=tp) * cache.temporal_bytes


def conv_elements(cache: StateCache, *, tp: int, drafted: int = 0) -> int:
    channels = sum(_extended(cache, heads, tp) // tp * dim for heads, dim in cache.conv_parts)
    return channels * (cache.kernel - 1 + drafted)


def temporal_elements(cache: StateCache, *, tp: int) -> int:
    heads, *dims = cache.temporal
    return heads // tp * math.prod(dims)


def why_not(cache: StateCache, *, tp: int) -> str | None:
    """Which heads or groups ``tp`` ranks cannot divide; a single group is repeated on all of them."""
    heads = cache.temporal[0]
    if heads % tp:
        return f"{heads} {cache.kind} heads do not divide by tensor parallel {tp}"
    for parts, _ in cache.conv_parts:
        if parts % tp and not (cache.kind == EXTENDED and parts == 1):
            return f"{parts} {cache.kind} groups do not divide by tensor parallel {tp}"
    return None


def _extended(cache: StateCache, parts: int, tp: int) -> int:
    return tp if cache.kind == EXTENDED and parts % tp else parts
