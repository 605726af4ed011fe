"""How much memory do CUDA graphs take on one rank?

- A pool that all share, and a part of each capture and layer: 140 MiB and 165 KiB in the median of 47 logs of vLLM's
V1 without experts, from 8 to 80 layers and 18 to 134 captures; 43 within 25 %. Of those, 37 are one collection on
H100 with 0.19.0 (llm-d-planner d3121e05, accuracy/results). Each capture of a model with experts takes more.
- FlashAttention 3, that Hopper runs, divides the keys of a request in graphs of whole decode batches into at most 32
parts and keeps the results of all beside each other, in 32 bits: 32 · rows · heads · (head size + 1) · 4 bytes,
once for all layers (vLLM: flash_attn_max_num_splits_for_cuda_graph, v1/attention/backends/flash_attn.py,
mla/flashattn_mla.py). Its estimate of the first such graph is 262 MiB with 32 heads of 128 and 134 with 16, 522
with 16 latent ones of 512: this says 258, 129, 513. It divides no batch of more than 992: gpt-oss, captured to 1024,
holds 626 MiB in its graphs' pools with TP 1 and 318 with TP 2 where they run out; this says 504 and 252 of these.
"""

from __future__ import annotations

from diag.planner.memory.batch import Batch
from diag.planner.memory.steps import Ranks
from diag.planner.model.architecture import Architecture, AttentionCache, LatentCache
from diag.planner.rules import FEW, NOTHING, EngineRules, Spread

SPLITS, SPLIT_ROWS = 32, 992
FLOAT32 = 4
FLASH_HEAD = 256
"""Of the largest heads that FlashAttention takes; where a layer has others, all run in another kernel."""
OTHER_KERNEL = ("bagel", "gemma3", "molmo2", "paligemma")
"""``model_type`` of models that see the words of an image both ways (is_mm_prefix_lm in vLLM's config/model.py)."""
HALF = ("float16", "bfloat16")


def captured(architecture: Architecture, rules: EngineRules, batch: Batch, ranks: Ranks, *, hopper: bool) -> Spread:
    if batch.enforce_eager:
        return NOTHING
    found = scaled(_counted(architecture, rules, batch, ranks), ranks.pp if rules.captures_each_stage else 1)
    split = split_bytes(architecture, rules, batch, ranks) if hopper and found.high else 0
    source = f"{found.source}; attention in {SPLITS} parts" if split else found.source
    return Spread(low=found.low + split, mid=found.mid + split, high=found.high + split, source=source)


def scaled(spread: Spread, factor: float) -> Spread:
    return Spread(low=spread.low * factor, mid=spread.mid * factor, high=spread.high * factor, source=spread.source)


def _counted(architecture: Architecture, rules: EngineRules, batch: Batch, ranks: Ranks) -> Spread:
    captures = _count(architecture, rules, batch) if batch.captures is None else batch.captures
    if not captures:
        return NOTHING if rules.captures.most or batch.captures == 0 else rules.graphs
    if not rules.graph_per_layer.high:
        usual = rules.graphs_alone if ranks.world == 1 and rules.graphs_alone.high else rules.graphs
        return rules.few_graphs if captures <= FEW and rules.few_graphs.high else usual
    found, few = _by_layers(architecture, rules, captures, len(architecture.layers) / ranks.pp), rules.few_graphs
    low = few.low if captures <= FEW and few.high else found.low
    return Spread(
        low=min(low, found.low), mid=max(found.mid, few.mid), high=max(found.high, few.high), source=found.source
    )


def _by_layers(architecture: Architecture, rules: EngineRules, captures: int, layers: float) -> Spread:
    if architecture.experts and rules.graph_per_expert_layer.high:
        return scaled(rules.graph_per_expert_layer, captures * layers)
    found = _sum(rules.graph_pool, scaled(rules.graph_per_layer, captures * layers))
    if architecture.experts and rules.graph_per_expert_capture.high:
        return _sum(found, scaled(rules.graph_per_expert_capture, captures))
    return found


def _sum(one: Spread, other: Spread) -> Spread:
    return Spread(
        low=one.low + other.low,
        mid=one.mid + other.mid,
        high=one.high + other.high,
        source="; ".join(spread.source for spread in (one, other) if spread.high),
    )


def _count(architecture: Architecture, rules: EngineRules, batch: Batch) -> int:
    """Attention over chunks is never captured whole (vLLM: chunked_local_attention.py)."""
    sequences = batch.max_num_seqs * batch.decoded
    captures = rules.captured_of(architecture.name)
    return captures.count(sequences, batch.max_num_batched_tokens, whole=not _in_chunks(architecture))


def _in_chunks(architecture: Architecture) -> bool:
    return any(cache.chunk for cache in _attention(architecture))


def split_bytes(architecture: Architecture, rules: EngineRules, batch: Batch, ranks: Ranks) -> int:
    """On Hopper."""
    if architecture.dtype not in HALF or architecture.model_type in OTHER_KERNEL:
        return 0
    if _in_chunks(architecture) or any(cache.head_dim > FLASH_HEAD for cache in _attention(architecture)):
        return 0
    captures = rules.captured_of(architecture.name)
    rows = captures.rows(batch.max_num_seqs * batch.decoded, batch.max_num_batched_tokens)
    heads = -(-architecture.heads // ranks.tp)
    return SPLITS * min(rows, SPLIT_ROWS) * heads * FLOAT32 * max(_widths(architecture, rules), default=0)


def _widths(architecture: Architecture, rules: EngineRules) -> list[int]:
    """Elements of what a head makes of one token, and the sum that they are scaled with."""
    heads = [cache.v_head_dim + 1 for cache in _attention(architecture)] if "full" in rules.split_kinds else []
    if "latent" not in rules.split_kinds:
        return heads
    latent = {cache for layer in architecture.layers for cache in layer.caches if isinstance(cache, LatentCache)}
    return heads + [cache.dim - cache.rope_dim + 1 for cache in latent if not cache.sparse]


def _attention(architecture: Architecture) -> set[AttentionCache]:
    return {cache for layer in architecture.layers for cache in layer.caches if isinstance(cache, AttentionCache)}
