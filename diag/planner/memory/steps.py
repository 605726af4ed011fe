"""How much memory do the steps take that an engine tries before it sizes the KV cache? Formulas, in bytes.

 - Sampling: c · S · V, c of the engine's version, and hidden states of all T tokens of the batch, still held. Counted
   in the sources: where the words are sorted c is 38 (logits in 16 and in 32 bits, the arranged indices, sorted values
   and indices, the sort's own buffers). It repeats 17 profiles within 2 %: 256 sequences and 152064 words 1.40 GiB,
   1024 and 201088 7.38, 2048 and 128256 9.37.
 - A forward pass: T · elements of the widest layer, for experts the workspace of every (token, expert) pair: its input
   and output in max(2I, H) elements, the product of gate and up in I (fused MoE kernels keep both ends).
 - Attention over summaries (DeepSeek-V4): its queries and outputs, padded to 64 heads. With TP 2 a token takes 351 KiB
   between two logs of 8192 and 16384 tokens, streams and experts included; this says 190, 318 and 429.
 - A vision tower, for the largest image: patches · hidden size of the tower.

Symbols: S max_num_seqs, T max_num_batched_tokens, V vocabulary, H hidden size, I inner size on one rank, k experts a
token.
"""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec

from diag.planner.memory.batch import Batch
from diag.planner.memory.same import Same
from diag.planner.model.architecture import Architecture, CompressedCache, StateCache, Weight
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.shards import Split, padded_vocab, shard_shape
from diag.planner.rules import NOTHING, EngineRules, Spread

HELD = Spread(low=1, mid=1.5, high=3, source="hidden states held while sampling: 1.5 copies in 9 profiles of 0.11")
HIDDEN = Spread(low=2, mid=3, high=6, source="residual, input, output; twice that where nothing is fused")
GATED = Spread(low=3, mid=3, high=4.5, source="gate, up and their product: 3 in two profiles without compiling")
GATED_QUANTIZED = Spread(low=3, mid=3, high=5.5, source="gate, up, their product, and copies in another type")
UNGATED = Spread(low=1, mid=2, high=3, source="the inner layer and what its activation makes of it")
CHUNK = 64
"""Tokens of which the kernels of recurrent layers keep a state at once."""
RECURRENT = Spread(
    low=6,
    mid=12,
    high=20,
    source="of each head: its inputs, their products with decays, partly in 32 bits; counted in the chunked kernels",
)
PER_PATCH = Spread(
    low=6,
    mid=10.6,
    high=17,
    source="embedding positions of every patch: 1.51 to 1.59 GiB with TP 1, 2 and 4 in logs of three Qwen models",
)
IMAGE_PATCHES = 65536
"""Of the largest image of a Qwen vision tower: 16 Mpixel in patches of 16 × 16."""
PATCHES_OF_A_TOKEN = 4
VIDEOS = ("qwen2_vl", "qwen2_5_vl")
"""``model_type`` of models whose videos may have as many tokens as a request."""
MORE_STREAMS = 4
"""Residual streams beside each other in models with compressed caches (hyper-connections)."""
HEADS_OF_A_KERNEL = 64
"""Attention over summaries works on a multiple of so many heads."""
ROUTER_BYTES = 8
"""Scores of each expert for each token, in 32 bits, and their softmax."""


BFLOAT16 = 2
GATES = ("gate_proj", "gate_up_proj", "w1", "w3")
"""How the matrices are called that only a gated MLP has."""


class Ranks(msgspec.Struct, frozen=True, kw_only=True):
    """Where one rank stands: ``stage`` of ``pp``; ``ep`` of its group get whole experts, ``dp`` share these."""

    tp: int
    pp: int = 1
    stage: int = 0
    ep: int = 1
    dp: int = 1
    expert_tp: int = 0

    @property
    def world(self) -> int:
        return self.tp * self.pp * self.dp

    @property
    def last(self) -> bool:
        return self.stage == self.pp - 1


class Tower(msgspec.Struct, frozen=True, kw_only=True):
    """Of a vision model."""

    hidden: int
    inner: int
    blocks: int


def sampler(architecture: Architecture, coefficient: Spread, batch: Batch, ranks: Ranks) -> Spread:
    if architecture.encoder or not ranks.last:
        return NOTHING
    logits = min(batch.max_num_seqs, batch.max_num_batched_tokens) * padded_vocab(architecture.vocab)
    held = batch.max_num_batched_tokens * architecture.hidden * DTYPE_BYTES[architecture.dtype]
    return Spread(
        low=coefficient.low * logits + HELD.low * held,
        mid=coefficient.mid * logits + HELD.mid * held,
        high=coefficient.high * logits + HELD.high * held,
        source=f"sampling {batch.max_num_seqs} sequences: {coefficient.source}",
    )


def kept(architecture: Architecture, per_word: float, batch: Batch, ranks: Ranks) -> Spread:
    """Counts of the words of each sequence, for penalties."""
    size = per_word * batch.max_num_seqs * architecture.vocab if ranks.last and not architecture.encoder else 0
    source = f"{per_word} bytes × sequences × vocabulary, allocated at the start" if size else "none"
    return Spread(low=size, mid=size, high=size, source=source)


def forward(architecture: Architecture, batch: Batch, ranks: Ranks, expert_part: Spread) -> Spread:
    """The experts' workspace stays allocated while attention over summaries runs."""
    one = batch.max_num_batched_tokens * DTYPE_BYTES[architecture.dtype]
    hidden = architecture.hidden * streams(architecture) * one
    least, most = (elements * one for elements in summarized(architecture, ranks))
    inner, copies = _widest(architecture, Split(tp=ranks.tp)) * one, _copies(architecture)
    states = recurrent(architecture, batch, ranks)
    return Spread(
        low=HIDDEN.low * hidden + least + max(copies.low * inner, expert_part.low, states.low),
        mid=HIDDEN.mid * hidden + most + max(copies.mid * inner, expert_part.mid, states.mid),
        high=HIDDEN.high * hidden + most + max(copies.high * inner, expert_part.high, states.high),
        source=f"a forward pass of {batch.max_num_batched_tokens} tokens ({HIDDEN.source}; {copies.source})",
    )


def summarized(architecture: Architecture, ranks: Ranks) -> tuple[int, int]:
    """Elements of a token in attention over summaries: at least its queries and outputs; at most both padded to the
    heads that a kernel works on, beside the queries before that (vLLM's models/deepseek_v4, attention.py, flashmla.py).
    """
    dims = [cache.dim for layer in architecture.layers for cache in layer.caches if isinstance(cache, CompressedCache)]
    heads = architecture.heads // ranks.tp
    padded = -(-heads // HEADS_OF_A_KERNEL) * HEADS_OF_A_KERNEL
    before = heads if padded > heads else 0
    return 2 * heads * max(dims, default=0), (2 * padded + before) * max(dims, default=0)


def recurrent(architecture: Architecture, batch: Batch, ranks: Ranks) -> Spread:
    """Of the widest recurrent layer: c elements of 16 bit for each token and head, and a state each chunk of tokens."""
    caches = {cache for layer in architecture.layers for cache in layer.caches if isinstance(cache, StateCache)}
    heads = [(cache.temporal[0] / ranks.tp, math.prod(cache.temporal[1:]), max(cache.temporal[1:])) for cache in caches]
    token = max((n * wide * BFLOAT16 for n, _, wide in heads), default=0) * batch.max_num_batched_tokens
    chunk = max((n * size * BFLOAT16 for n, size, _ in heads), default=0) * batch.max_num_batched_tokens / CHUNK
    return Spread(
        low=RECURRENT.low * token + chunk,
        mid=RECURRENT.mid * token + chunk,
        high=RECURRENT.high * token + 2 * chunk,
        source=RECURRENT.source,
    )


def experts(architecture: Architecture, batch: Batch, ranks: Ranks) -> Spread:
    """Low: tokens balanced over the experts' ranks; mid: all of a rank's tokens; high: those of all replicas.

    Where each expert is divided, every rank works on the tokens of all replicas.
    """
    if not architecture.experts:
        return NOTHING
    split = Split(tp=ranks.tp, ep=ranks.ep, expert_tp=ranks.expert_tp)
    inner = max((shard_shape(one, split.ranks(one))[1] for one in _outs(architecture) if one.expert), default=0)
    pair = (max(2 * inner, architecture.hidden) + inner) * DTYPE_BYTES[architecture.dtype]
    tokens = batch.max_num_batched_tokens
    pairs = tokens * architecture.experts_per_token
    scores = tokens * architecture.experts * ROUTER_BYTES
    balanced = max(1, ranks.dp) / max(1, ranks.ep)
    return Spread(
        low=pairs * balanced * pair + scores,
        mid=pairs * max(1, balanced) * pair + scores,
        high=pairs * max(1.25, ranks.dp) * pair + scores,
        source=f"{pairs} (token, expert) pairs; low: balanced over {ranks.ep} ranks, high: all of {ranks.dp} replicas",
    )


def vision(architecture: Architecture, batch: Batch) -> Spread:
    found = tower(architecture)
    if found is None:
        return NOTHING
    one = found.hidden * DTYPE_BYTES[architecture.dtype]
    tokens = 4 * batch.max_num_batched_tokens
    return Spread(
        low=PER_PATCH.low * min(IMAGE_PATCHES, tokens) * one,
        mid=PER_PATCH.mid * IMAGE_PATCHES * one,
        high=PER_PATCH.high * max(IMAGE_PATCHES, tokens) * one,
        source=f"the largest image through the vision tower, {IMAGE_PATCHES} patches: {PER_PATCH.source}",
    )


def watched(rules: EngineRules, architecture: Architecture, max_model_len: int) -> int:
    """How many images of the largest size the tower is profiled with: a video of as many as a request may hold.

    Source: vLLM's models/qwen2_vl.py (_get_max_video_frames, _MAX_FRAMES_PER_VIDEO).
    """
    if architecture.model_type not in VIDEOS:
        return 1
    return max(1, min(rules.video_images, max_model_len // (IMAGE_PATCHES // PATCHES_OF_A_TOKEN)))


def held_images(architecture: Architecture, tokens: int) -> Spread:
    """Embeddings that wait beside a step of the language model, on every rank."""
    held = tokens * architecture.image_width * DTYPE_BYTES[architecture.dtype]
    return Spread(low=held, mid=held, high=held, source=f"embeddings of {tokens} tokens of images") if held else NOTHING


def beside(step: Spread, held: Spread) -> Spread:
    source = f"{step.source}; {held.source}" if held.high else step.source
    return Spread(low=step.low + held.low, mid=step.mid + held.mid, high=step.high + held.high, source=source)


def tower(architecture: Architecture) -> Tower | None:
    """None: no vision tower. Its blocks are the matrices that stand before the layers several times."""
    blocks = [one for one in architecture.first if one.every_stage and one.count > 1 and one.columns > 1]
    if not architecture.vision or not blocks:
        return None
    return Tower(
        hidden=min(one.columns for one in blocks),
        inner=max(one.columns for one in blocks),
        blocks=max(one.count for one in blocks),
    )


def _copies(architecture: Architecture) -> Spread:
    kinds = {id(layer.weights): layer.weights for layer in architecture.layers}
    if not any(one.name.endswith(GATES) for weights in kinds.values() for one in weights):
        return UNGATED
    return GATED if architecture.quantization is None else GATED_QUANTIZED


def streams(architecture: Architecture) -> int:
    compressed = any(isinstance(cache, CompressedCache) for layer in architecture.layers for cache in layer.caches)
    return MORE_STREAMS if compressed else 1


def _widest(architecture: Architecture, split: Split) -> int:
    """Elements that go into the widest matrix of those that lead back to the hidden size, on one rank."""
    dense = (one for one in _outs(architecture) if not one.expert)
    return max((shard_shape(one, split.ranks(one))[1] for one in dense), default=architecture.inner // split.tp)


def _outs(architecture: Architecture) -> tuple[Weight, ...]:
    return _found_outs(Same(architecture))


@lru_cache(maxsize=64)
def _found_outs(same: Same[Architecture]) -> tuple[Weight, ...]:
    """A search asks thousands of times."""
    architecture = same.value
    kinds = {id(layer.weights): layer.weights for layer in architecture.layers}
    return tuple(one for weights in kinds.values() for one in weights if one.shard == "columns" and one.columns > 1)
