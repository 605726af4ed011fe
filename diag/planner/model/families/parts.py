"""Which weights make up an attention block, an MLP, a set of experts, the ends of a decoder?

Building blocks of the families, each weight with the rule that divides it. Symbols: H hidden, A heads, K kv heads,
D head dim, I inner size, E experts, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from diag.planner.model.architecture import Shard, Weight

GATED = ("gate_proj", "up_proj", "down_proj")
"""An MLP with a gate: two matrices of I × H, then one of H × I."""


def norm(name: str, size: int, *, count: int = 1, bias: bool = False) -> Weight:
    return Weight(name=name, rows=size, count=count, bias=bias, linear=False)


def linear(
    name: str, rows: int, columns: int, *, shard: Shard = "whole", bias: bool = False, heads: int = 0, count: int = 1
) -> Weight:
    return Weight(name=name, rows=rows, columns=columns, shard=shard, bias=bias, heads=heads, count=count)


QkNorm = Literal["", "head", "width"]
"""``head``: D elements, on every rank; ``width``: one for each row of q and of k, divided as they are."""


def vector(name: str, size: int, *, shard: Shard = "whole", dtype_bytes: float | None = None) -> Weight:
    return Weight(name=name, rows=size, shard=shard, dtype_bytes=dtype_bytes, linear=False)


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """Shape of one attention block. ``v_head_dim`` 0: as ``head_dim``."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    v_head_dim: int = 0
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: QkNorm = ""
    name: str = "self_attn"
    projections: tuple[str, str, str, str] = ("q_proj", "k_proj", "v_proj", "o_proj")
    norms: tuple[str, str] = ("q_norm", "k_norm")


def of_as_many_heads(
    name: str, hidden: int, heads: int, projections: tuple[str, str, str, str], *, bias: bool
) -> Attention:
    """Keys and values for each head of the queries, as encoders and vision towers have them."""
    return Attention(
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_dim=hidden // heads,
        qkv_bias=bias,
        o_bias=bias,
        name=name,
        projections=projections,
    )


def attention(shape: Attention) -> tuple[Weight, ...]:
    """q: A·D × H, k and v: K·D × H, o: H × A·D."""
    v_head_dim = shape.v_head_dim or shape.head_dim
    q, k, v, o = (f"{shape.name}.{name}" for name in shape.projections)
    projections = (
        _by_head(q, shape.heads, shape.head_dim, shape),
        _by_head(k, shape.kv_heads, shape.head_dim, shape),
        _by_head(v, shape.kv_heads, v_head_dim, shape),
        linear(o, shape.hidden, shape.heads * v_head_dim, shard="columns", bias=shape.o_bias),
    )
    return (*projections, *_qk_norms(shape))


def _qk_norms(shape: Attention) -> Iterator[Weight]:
    for name, heads in zip(shape.norms, (shape.heads, shape.kv_heads), strict=True):
        if shape.qk_norm == "head":
            yield norm(f"{shape.name}.{name}", shape.head_dim)
        elif shape.qk_norm == "width":
            rows = heads * shape.head_dim
            yield Weight(name=f"{shape.name}.{name}", rows=rows, shard="heads", heads=heads, linear=False)


def _by_head(name: str, heads: int, head_dim: int, shape: Attention) -> Weight:
    return linear(name, heads * head_dim, shape.hidden, shard="heads", heads=heads, bias=shape.qkv_bias)


def mlp(name: str, hidden: int, inner: int, *, bias: bool = False, names: Sequence[str] = GATED) -> tuple[Weight, ...]:
    """All but the last of ``names`` are I × H and divided by rows; the last is H × I and divided by columns."""
    *into, out = names
    return (
        *(linear(f"{name}.{one}", inner, hidden, shard="rows", bias=bias) for one in into),
        linear(f"{name}.{out}", hidden, inner, shard="columns", bias=bias),
    )


def experts(
    name: str, hidden: int, inner: int, count: int, *, bias: bool = False, names: Sequence[str] = GATED
) -> tuple[Weight, ...]:
    """``count`` routed MLPs. The index 0 in their names stands for all of them."""
    return tuple(
        msgspec.structs.replace(one, count=count, expert=True)
        for one in mlp(f"{name}.0", hidden, inner, bias=bias, names=names)
    )


def router(name: str, experts: int, hidden: int, *, bias: bool = False, dtype_bytes: float | None = None) -> Weight:
    """E × H, on every rank; engines never quantize it."""
    return Weight(name=name, rows=experts, columns=hidden, bias=bias, dtype_bytes=dtype_bytes, linear=False)


def correction(name: str, experts: int, *, dtype_bytes: float = 4) -> Weight:
    """A number for each expert that is added to its score."""
    return Weight(name=name, rows=experts, dtype_bytes=dtype_bytes, linear=False)


def embedding(name: str, vocab: int, hidden: int, *, every_stage: bool = False) -> Weight:
    return Weight(name=name, rows=vocab, columns=hidden, shard="vocab", linear=False, every_stage=every_stage)


def head(name: str, vocab: int, hidden: int, *, tied: bool = False, every_stage: bool = False) -> Weight:
    """V × H. A tied one is the embedding, which no checkpoint quantizes as a linear layer."""
    return Weight(name=name, rows=vocab, columns=hidden, shard="vocab", linear=not tied, every_stage=every_stage)
