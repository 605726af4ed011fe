"""What is a DeepSeek-V4 made of: attention over a window and over compressed summaries, several residual streams?

Symbols: H hidden, A heads, D head dim (keys and values are one entry of D), Q the rank of the compressed queries, G
groups of O outputs that the output passes through, M residual streams. A layer's ``compress_ratios`` says how many
tokens a summary stands for: 4 (overlapping, so twice as wide, and an indexer chooses among them), 128, or none. Names
are those of DeepSeek's own checkpoints. Checked against vLLM's models/deepseek_v4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import msgspec

from diag.planner.model.architecture import Architecture, CompressedCache, Layer, RotaryTable, Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config
from diag.planner.model.families.lengths import longest_context
from diag.planner.model.families.whole import Around, Names, whole
from diag.planner.unknown import NotKnown

EXPERT = ("w1", "w3", "w2")
RATIOS = (0, 4, 128)
CHOSEN_RATIO = 4
"""Whose summaries overlap and are chosen by an indexer."""
FLOAT32 = 4
INT32 = 4
SINK_HEADS = 64
"""vLLM's attention kernels work on a multiple of this many heads; the sinks are padded to it."""
NAMES = Names(model="", embedding="embed", norm="norm", head="head")


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    hidden: int
    heads: int
    head_dim: int
    rope_dim: int
    q_rank: int
    groups: int
    o_rank: int
    window: int
    index_heads: int
    index_dim: int


def read(config: Config) -> Architecture:
    if config.count("vision_n_layers", 0, least=0):
        raise NotKnown("vision_n_layers: a DeepSeek-V4 with a vision tower is not known")
    experts = config.count("n_routed_experts")
    return whole(
        config,
        _layers(config),
        NAMES,
        Around(
            last=_streams("hc_head", config.count("hc_mult"), config.count("hidden_size")),
            rotary=tuple(_rotary(config)),
            experts=experts,
            experts_per_token=config.count("num_experts_per_tok"),
        ),
    )


def _layers(config: Config) -> Iterator[Layer]:
    """Layers of a kind share their weights."""
    shape = _shape(config)
    count = config.count("num_hidden_layers")
    ratios = _ratios(config, count)
    hashed = config.count("num_hash_layers", 0, least=0)
    attention = {ratio: _attention(shape, ratio) for ratio in set(ratios)}
    routing = {by_hash: _routed(config, by_hash=by_hash) for by_hash in (True, False)}
    around = _around(config)
    weights = {
        (ratio, by_hash): (*attention[ratio], *routing[by_hash], *around) for ratio in attention for by_hash in routing
    }
    for layer, ratio in enumerate(ratios):
        yield Layer(prefix=f"layers.{layer}", weights=weights[ratio, layer < hashed], caches=(_cache(shape, ratio),))


def _shape(config: Config) -> _Shape:
    return _Shape(
        hidden=config.count("hidden_size"),
        heads=config.count("num_attention_heads"),
        head_dim=config.count("head_dim"),
        rope_dim=config.count("qk_rope_head_dim"),
        q_rank=config.count("q_lora_rank"),
        groups=config.count("o_groups"),
        o_rank=config.count("o_lora_rank"),
        window=config.count("sliding_window"),
        index_heads=config.count("index_n_heads"),
        index_dim=config.count("index_head_dim"),
    )


def _ratios(config: Config, layers: int) -> tuple[int, ...]:
    """Of each layer; a list may go on for the draft layers. 1 means none."""
    ratios = tuple(0 if ratio == 1 else ratio for ratio in config.counts("compress_ratios", length=layers))
    if set(ratios) - set(RATIOS):
        raise config.bad("compress_ratios", f"each one of {', '.join(map(str, RATIOS))}")
    return ratios


def _attention(shape: _Shape, ratio: int) -> tuple[Weight, ...]:
    """The output passes through G groups of O, each group reading its own heads."""
    wide, narrow = shape.heads * shape.head_dim, shape.groups * shape.o_rank
    return (
        _sinks(shape.heads),
        parts.linear("attn.wq_a", shape.q_rank, shape.hidden),
        parts.norm("attn.q_norm", shape.q_rank),
        parts.linear("attn.wq_b", wide, shape.q_rank, shard="rows"),
        parts.linear("attn.wkv", shape.head_dim, shape.hidden),
        parts.norm("attn.kv_norm", shape.head_dim),
        _by_group("attn.wo_a", narrow, wide // shape.groups, shape.groups),
        parts.linear("attn.wo_b", shape.hidden, narrow, shard="columns"),
        *(_compressor("attn.compressor", shape.hidden, shape.head_dim, ratio) if ratio else ()),
        *(_indexer(shape) if ratio == CHOSEN_RATIO else ()),
    )


def _by_group(name: str, rows: int, columns: int, groups: int) -> Weight:
    """A rank has whole groups of heads, and no group twice."""
    matrix = parts.linear(name, rows, columns, shard="heads", heads=groups)
    return msgspec.structs.replace(matrix, repeats=False)


def _sinks(heads: int) -> Weight:
    padded = -(-heads // SINK_HEADS)
    return Weight(
        name="attn.attn_sink", rows=padded * SINK_HEADS, shard="heads", heads=padded, dtype_bytes=FLOAT32, linear=False
    )


def _compressor(name: str, hidden: int, width: int, ratio: int) -> tuple[Weight, ...]:
    """On every rank, unquantized; what it adds by position is float32."""
    wide = width * (1 + (ratio == CHOSEN_RATIO))
    return (
        Weight(name=f"{name}.ape", rows=ratio, columns=wide, dtype_bytes=FLOAT32, linear=False),
        parts.router(f"{name}.wkv", wide, hidden),
        parts.router(f"{name}.wgate", wide, hidden),
        parts.norm(f"{name}.norm", width),
    )


def _indexer(shape: _Shape) -> tuple[Weight, ...]:
    return (
        parts.linear("attn.indexer.wq_b", shape.index_heads * shape.index_dim, shape.q_rank),
        parts.router("attn.indexer.weights_proj", shape.index_heads, shape.hidden),
        *_compressor("attn.indexer.compressor", shape.hidden, shape.index_dim, CHOSEN_RATIO),
    )


def _routed(config: Config, *, by_hash: bool) -> tuple[Weight, ...]:
    """The first layers look their experts up by token; the others score them."""
    hidden, count = config.count("hidden_size"), config.count("n_routed_experts")
    inner, shared = config.count("moe_intermediate_size"), config.count("n_shared_experts", 0, least=0)
    return (
        parts.router("ffn.gate", count, hidden),
        *(_by_token(config) if by_hash else _by_score(config, count)),
        *parts.experts("ffn.experts", hidden, inner, count, names=EXPERT),
        *(parts.mlp("ffn.shared_experts", hidden, inner * shared, names=EXPERT) if shared else ()),
    )


def _by_token(config: Config) -> tuple[Weight, ...]:
    vocab, chosen = config.count("vocab_size"), config.count("num_experts_per_tok")
    return (Weight(name="ffn.gate.tid2eid", rows=vocab, columns=chosen, dtype_bytes=INT32, linear=False),)


def _by_score(config: Config, count: int) -> tuple[Weight, ...]:
    return (parts.correction("ffn.gate.bias", count),) if config.get("topk_method") == "noaux_tc" else ()


def _around(config: Config) -> tuple[Weight, ...]:
    """Norms, and what mixes M residual streams: (2 + M)·M rows of M·H before attention and before the experts."""
    hidden, streams = config.count("hidden_size"), config.count("hc_mult")
    mixed = (2 + streams) * streams
    return (
        parts.norm("attn_norm", hidden),
        parts.norm("ffn_norm", hidden),
        *(_float32(f"hc_{part}_fn", mixed, streams * hidden) for part in ("attn", "ffn")),
        *(_float32(f"hc_{part}_base", mixed) for part in ("attn", "ffn")),
        *(_float32(f"hc_{part}_scale", 3) for part in ("attn", "ffn")),
    )


def _streams(name: str, streams: int, hidden: int) -> tuple[Weight, ...]:
    """What makes one stream of M behind the layers; on every stage of a pipeline."""
    weights = (
        _float32(f"{name}_fn", streams, streams * hidden),
        _float32(f"{name}_base", streams),
        _float32(f"{name}_scale", 1),
    )
    return tuple(msgspec.structs.replace(one, every_stage=True) for one in weights)


def _rotary(config: Config) -> Iterator[RotaryTable]:
    """In float32; one table for layers with summaries, whose positions turn at another base, and one for those without.

    Source: vLLM's models/deepseek_v4/common/rope.py, deepseek_scaling_rope.py; SGLang's dsv4/rope.py has the same.
    """
    ratios = _ratios(config, config.count("num_hidden_layers"))
    for _ in {ratio > 0 for ratio in ratios}:
        positions, dim = longest_context(config), config.count("qk_rope_head_dim")
        yield RotaryTable(positions=positions, dim=dim, element_bytes=FLOAT32)


def _float32(name: str, rows: int, columns: int = 1) -> Weight:
    return Weight(name=name, rows=rows, columns=columns, dtype_bytes=FLOAT32, linear=False)


def _cache(shape: _Shape, ratio: int) -> CompressedCache:
    return CompressedCache(
        dim=shape.head_dim,
        rope_dim=shape.rope_dim,
        window=shape.window,
        ratio=ratio,
        indexer_dim=shape.index_dim if ratio == CHOSEN_RATIO else 0,
    )


def drafting_layer(config: Config, number: int) -> Layer:
    """The ``number``-th behind the model's own, with which it guesses tokens ahead: it scores its experts, and projects
    the last residual streams and the next token's embedding each by itself.

    Checked against vLLM's models/deepseek_v4/nvidia/mtp.py (0.24 to 0.33), models/deepseek_v4_mtp.py (0.20).
    """
    shape, behind = _shape(config), config.count("num_hidden_layers") + number
    ratio = _ratios(config, behind + 1)[behind]
    weights = (
        *_attention(shape, ratio),
        *_routed(config, by_hash=False),
        *_around(config),
        *(parts.linear(name, shape.hidden, shape.hidden) for name in ("e_proj", "h_proj")),
        *(parts.norm(name, shape.hidden) for name in ("enorm", "hnorm", "norm")),
        *(msgspec.structs.replace(one, every_stage=False)
          for one in _streams("hc_head", config.count("hc_mult"), shape.hidden)),
    )  # fmt: skip
    return Layer(prefix=f"mtp.{number}", weights=weights, caches=(_cache(shape, ratio),))


READERS: Mapping[str, Callable[[Config], Architecture]] = {"deepseek_v4": read, "deepseek_ref": read}
