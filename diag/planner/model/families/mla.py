"""Which weights and which cache has multi-head latent attention (MLA), with and without a sparse-attention indexer?

Symbols: H hidden, A heads, N and R the query dims without and with position, V the value dim, Q and C the ranks of the
compressed queries and keys/values. Queries and keys/values pass through Q and C elements (H × Q, H × (C + R)), on every
rank; what leaves them is divided by heads. Source: vLLM's deepseek_v2.py and models/deepseek_v32/attention.py.
"""

from __future__ import annotations

import msgspec

from diag.planner.model.architecture import LatentCache, Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config
from diag.planner.unknown import NotKnown

FLOAT32 = 4


class Mla(msgspec.Struct, frozen=True, kw_only=True):
    """``q_rank`` 0: queries are not compressed. ``gate``: the output is gated, as wide as the values."""

    hidden: int
    heads: int
    nope_dim: int
    rope_dim: int
    v_dim: int
    kv_rank: int
    q_rank: int = 0
    gate: bool = False


class Indexer(msgspec.Struct, frozen=True, kw_only=True):
    """Chooses the tokens that sparse attention sees."""

    heads: int
    head_dim: int


def mla(config: Config, *, gate: bool = False) -> Mla:
    if config.flag("attention_bias"):
        raise NotKnown(f"{config.where}attention_bias: latent attention with biases is not known")
    return Mla(
        hidden=config.count("hidden_size"),
        heads=config.count("num_attention_heads"),
        nope_dim=config.count("qk_nope_head_dim"),
        rope_dim=config.count("qk_rope_head_dim"),
        v_dim=config.count("v_head_dim"),
        kv_rank=config.count("kv_lora_rank"),
        q_rank=config.count("q_lora_rank", 0, least=0),
        gate=gate,
    )


def indexer(config: Config) -> Indexer | None:
    if not config.has("index_topk"):
        return None
    return Indexer(heads=config.count("index_n_heads"), head_dim=config.count("index_head_dim"))


def has_own_indexer(config: Config, layer: int) -> bool:
    """Whether a layer chooses for itself; else it sees what the last one chose that did (IndexCache, arXiv 2603.12201).

    ``indexer_types`` names each layer; without it a pattern of F and S, or every so many layers after an offset.
    """
    if config.has("indexer_types"):
        return _named(config, "indexer_types", layer, {"full": True, "shared": False})
    if config.has("index_topk_pattern"):
        return _named(config, "index_topk_pattern", layer, {"F": True, "S": False})
    offset = config.count("index_skip_topk_offset", 2, least=0)
    return max(layer - offset + 1, 0) % config.count("index_topk_freq", 1) == 0


def mla_weights(shape: Mla, name: str = "self_attn") -> tuple[Weight, ...]:
    values = shape.heads * shape.v_dim
    return (
        *_queries(shape, name),
        parts.linear(f"{name}.kv_a_proj_with_mqa", shape.kv_rank + shape.rope_dim, shape.hidden),
        parts.norm(f"{name}.kv_a_layernorm", shape.kv_rank),
        _by_head(f"{name}.kv_b_proj", shape.heads * (shape.nope_dim + shape.v_dim), shape.kv_rank),
        *((_by_head(f"{name}.g_proj", values, shape.hidden),) if shape.gate else ()),
        parts.linear(f"{name}.o_proj", shape.hidden, values, shard="columns"),
    )


def indexer_weights(shape: Mla, index: Indexer, name: str = "self_attn.indexer") -> tuple[Weight, ...]:
    """On every rank. vLLM keeps ``wk`` and ``weights_proj`` fused and unquantized, the norm in float32."""
    queries = index.heads * index.head_dim
    return (
        parts.linear(f"{name}.wq_b", queries, shape.q_rank),
        parts.router(f"{name}.wk", index.head_dim, shape.hidden),
        parts.router(f"{name}.weights_proj", index.heads, shape.hidden),
        Weight(name=f"{name}.k_norm", rows=index.head_dim, bias=True, dtype_bytes=FLOAT32, linear=False),
    )


def latent_cache(shape: Mla, index: Indexer | None = None, *, sparse: bool = False) -> LatentCache:
    """``index``: of a layer that has its own."""
    return LatentCache(
        dim=shape.kv_rank + shape.rope_dim,
        rope_dim=shape.rope_dim,
        indexer_dim=index.head_dim if index else 0,
        sparse=sparse,
    )


def _queries(shape: Mla, name: str) -> tuple[Weight, ...]:
    rows = shape.heads * (shape.nope_dim + shape.rope_dim)
    if not shape.q_rank:
        return (_by_head(f"{name}.q_proj", rows, shape.hidden),)
    return (
        parts.linear(f"{name}.q_a_proj", shape.q_rank, shape.hidden),
        parts.norm(f"{name}.q_a_layernorm", shape.q_rank),
        _by_head(f"{name}.q_b_proj", rows, shape.q_rank),
    )


def _by_head(name: str, rows: int, columns: int) -> Weight:
    """More ranks than heads are refused, so the heads need not be repeated."""
    return parts.linear(name, rows, columns, shard="rows")


def _named(config: Config, key: str, layer: int, known: dict[str, bool]) -> bool:
    kinds = config.get(key)
    if not isinstance(kinds, (list, str)) or layer >= len(kinds) or kinds[layer] not in known:
        raise config.bad(key, f"{' or '.join(known)} for layer {layer}")
    return known[kinds[layer]]
