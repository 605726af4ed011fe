"""Which weights has a layer that keeps a recurrent state: Mamba 2, gated delta net (GDN), Kimi delta attention (KDA)?

Symbols: H hidden, A heads, D head dim, G groups, S state size, W the width of the causal convolution. One matrix of the
checkpoint whose parts are divided apart stands here as several of the same name. Sources: vLLM's layers/mamba
(mamba_mixer2.py, gdn/qwen_gdn_linear_attn.py, gdn/kimi_gdn_linear_attn.py) and models/kimi_k3.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from diag.planner.model.architecture import StateCache, Weight
from diag.planner.model.families import parts

FLOAT32 = 4
BETA_ROWS = 16
"""vLLM pads the last rows of a full-rank KDA projection so that one rank's are a multiple of this."""


class Mamba2(msgspec.Struct, frozen=True, kw_only=True):
    hidden: int
    heads: int
    head_dim: int
    groups: int
    state: int
    width: int
    bias: bool
    conv_bias: bool
    state_bytes: int

    @property
    def inner(self) -> int:
        return self.heads * self.head_dim


class Gdn(msgspec.Struct, frozen=True, kw_only=True):
    """``fused``: the projections of queries, keys, values and gate are one matrix in the checkpoint (Qwen3-Next)."""

    hidden: int
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    width: int
    fused: bool
    state_bytes: int

    @property
    def keys(self) -> int:
        return self.key_heads * self.key_dim

    @property
    def values(self) -> int:
        return self.value_heads * self.value_dim


class Kda(msgspec.Struct, frozen=True, kw_only=True):
    """``full_rank_gate``: the output gate is one matrix (Kimi-K3), else it passes through D elements.

    ``bounded``: the decay gate has a lower bound, which some kernels need.
    """

    hidden: int
    heads: int
    head_dim: int
    width: int
    full_rank_gate: bool
    bounded: bool = False

    @property
    def inner(self) -> int:
        return self.heads * self.head_dim


def mamba2_weights(shape: Mamba2, name: str = "mixer") -> tuple[Weight, ...]:
    """All of it is divided by heads, but what a group of them shares (B and C)."""
    projected = (shape.inner, shape.inner, shape.heads)
    return (
        *(parts.linear(f"{name}.in_proj", rows, shape.hidden, shard="rows", bias=shape.bias) for rows in projected),
        *(_by_group(shape, f"{name}.in_proj") for _ in ("B", "C")),
        _divided(f"{name}.conv1d", shape.inner, shape.width, bias=shape.conv_bias),
        *(_group_convolution(shape, f"{name}.conv1d") for _ in ("B", "C")),
        _divided(f"{name}.A_log", shape.heads, dtype_bytes=FLOAT32),
        _divided(f"{name}.D", shape.heads),
        _divided(f"{name}.dt_bias", shape.heads),
        _divided(f"{name}.norm", shape.inner),
        parts.linear(f"{name}.out_proj", shape.hidden, shape.inner, shard="columns", bias=shape.bias),
    )


def mamba2_cache(shape: Mamba2) -> StateCache:
    group = (shape.groups, shape.state)
    return StateCache(
        kind="mamba2",
        conv_parts=((shape.heads, shape.head_dim), group, group),
        kernel=shape.width,
        temporal=(shape.heads, shape.head_dim, shape.state),
        temporal_bytes=shape.state_bytes,
    )


def gdn_weights(shape: Gdn, name: str = "linear_attn") -> tuple[Weight, ...]:
    return (
        *_gdn_projections(shape, name),
        _divided(f"{name}.conv1d", 2 * shape.keys + shape.values, shape.width),
        _divided(f"{name}.dt_bias", shape.value_heads),
        _divided(f"{name}.A_log", shape.value_heads, dtype_bytes=FLOAT32),
        parts.norm(f"{name}.norm", shape.value_dim),
        parts.linear(f"{name}.out_proj", shape.hidden, shape.values, shard="columns"),
    )


def gdn_cache(shape: Gdn) -> StateCache:
    keys = (shape.key_heads, shape.key_dim)
    return StateCache(
        kind="gdn",
        conv_parts=(keys, keys, (shape.value_heads, shape.value_dim)),
        kernel=shape.width,
        temporal=(shape.value_heads, shape.value_dim, shape.key_dim),
        temporal_bytes=shape.state_bytes,
    )


def kda_weights(shape: Kda, name: str = "self_attn") -> tuple[Weight, ...]:
    """The convolutions are float32, and so is what the gates add."""
    inner, hidden = shape.inner, shape.hidden
    return (
        *(parts.linear(f"{name}.{one}_proj", inner, hidden, shard="rows") for one in "qkv"),
        *_kda_gates(shape, name),
        *(_divided(f"{name}.{one}_conv1d", inner, shape.width, dtype_bytes=FLOAT32) for one in "qkv"),
        _divided(f"{name}.A_log", shape.heads, dtype_bytes=FLOAT32),
        _divided(f"{name}.dt_bias", inner, dtype_bytes=FLOAT32),
        parts.norm(f"{name}.o_norm", shape.head_dim),
        parts.linear(f"{name}.o_proj", hidden, inner, shard="columns"),
    )


def kda_cache(shape: Kda) -> StateCache:
    head = (shape.heads, shape.head_dim)
    return StateCache(
        kind="bounded_kda" if shape.bounded else "kda",
        conv_parts=(head, head, head),
        kernel=shape.width,
        temporal=(shape.heads, shape.head_dim, shape.head_dim),
        temporal_bytes=FLOAT32,
    )


def _gdn_projections(shape: Gdn, name: str) -> Iterator[Weight]:
    """Queries, keys, values, their gate (z), and a decay (a) and a strength (b) for each head of values."""
    keys, values, heads = shape.keys, shape.values, shape.value_heads
    if shape.fused:
        yield _by_part(f"{name}.in_proj_qkvz", 2 * keys + 2 * values, shape.hidden, shape.key_heads)
        yield _by_part(f"{name}.in_proj_ba", 2 * heads, shape.hidden, shape.key_heads)
        return
    for _ in ("queries", "keys"):
        yield _by_part(f"{name}.in_proj_qkv", keys, shape.hidden, shape.key_heads)
    yield parts.linear(f"{name}.in_proj_qkv", values, shape.hidden, shard="rows")
    yield parts.linear(f"{name}.in_proj_z", values, shape.hidden, shard="rows")
    yield parts.linear(f"{name}.in_proj_b", heads, shape.hidden, shard="rows")
    yield parts.linear(f"{name}.in_proj_a", heads, shape.hidden, shard="rows")


def _kda_gates(shape: Kda, name: str) -> Iterator[Weight]:
    inner, hidden, full = shape.inner, shape.hidden, shape.full_rank_gate
    yield parts.linear(f"{name}.f_a_proj", shape.head_dim, hidden)
    yield parts.linear(f"{name}.f_b_proj", inner, shape.head_dim, shard="rows")
    beta = parts.linear(f"{name}.b_proj", shape.heads, hidden, shard="rows")
    yield msgspec.structs.replace(beta, part_multiple=BETA_ROWS if full else 1)
    if full:
        yield parts.linear(f"{name}.g_proj", inner, hidden, shard="rows")
    else:
        yield parts.linear(f"{name}.g_a_proj", shape.head_dim, hidden)
        yield parts.linear(f"{name}.g_b_proj", inner, shape.head_dim, shard="rows")


def _by_group(shape: Mamba2, name: str) -> Weight:
    """A single group is repeated; several are not (mamba_mixer2.py)."""
    matrix = _by_part(name, shape.groups * shape.state, shape.hidden, shape.groups)
    return msgspec.structs.replace(matrix, bias=shape.bias, repeats=shape.groups == 1)


def _group_convolution(shape: Mamba2, name: str) -> Weight:
    convolution = _divided(name, shape.groups * shape.state, shape.width, bias=shape.conv_bias)
    return msgspec.structs.replace(convolution, shard="heads", heads=shape.groups, repeats=shape.groups == 1)


def _by_part(name: str, rows: int, columns: int, heads: int) -> Weight:
    matrix = parts.linear(name, rows, columns, shard="heads", heads=heads)
    return msgspec.structs.replace(matrix, repeats=False)


def _divided(name: str, rows: int, columns: int = 1, *, bias: bool = False, dtype_bytes: float | None = None) -> Weight:
    """Rows that ranks divide and nobody quantizes."""
    return Weight(name=name, rows=rows, columns=columns, shard="rows", bias=bias, dtype_bytes=dtype_bytes, linear=False)
