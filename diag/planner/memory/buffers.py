"""How much does TurboMind allocate that neither weights nor requests decide? Counted in its sources.

Symbols: B max_batch_size, L session_len, V vocabulary, T tokens of a forward pass (max_prefill_token_num + B), H hidden
size, n heads of a rank, d their dim, e bytes of an element. In bytes:
 - B · L · t: token ids, and pointers to the blocks of every request (0.9: LlamaBatch::AllocateBuffer; 0.12:
   generation.cc, unified_attention_layer.cc), t of the version; three positions a token more for some vision models;
 - B · V · w: logits (0.9: sampling_logits_, symm_logits_buf_);
 - T · H · e, but at least B · V · e, where ranks exchange hidden states and logits (symm_buf_);
 - 4096 · n · d · 4: parts of an attention that is split over the tokens (partial_O_), and 65 MiB of its GEMM.
While it works it writes keys and values of all prompts under way one after the other: 2 · kv heads · d · e a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from diag.planner.memory.batch import Batch
from diag.planner.model.architecture import Architecture, AttentionCache, LatentCache
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.shards import padded_vocab
from diag.units import MIB

if TYPE_CHECKING:
    from diag.planner.memory.steps import Ranks
    from diag.planner.memory.terms import Terms

GEMM_BYTES = 65 * MIB
"""LlamaLinear.cu: barriers, partial sums, and as much for its descriptors."""
SPLIT_TOKENS = 4096
FLOAT32 = 4
HIGH = 1.1
"""Times what was counted, and 64 MiB: what small buffers and rounding may add."""
HIGH_BESIDE = 64 * MIB


class Buffers(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes for each of a product, as the module's text has it."""

    token_bytes: float
    word_bytes: float = 0
    position_bytes: float = 0
    position_names: tuple[str, ...] = ()
    """``architectures`` whose tokens have three positions."""


def with_buffers(  # noqa: PLR0917 - what terms follow from, and the context
    terms: Terms, buffers: Buffers, architecture: Architecture, batch: Batch, ranks: Ranks, max_model_len: int
) -> Terms:
    """``terms`` with the buffers as ``kept``, and the forward pass with its copy of keys and values."""
    size = _fixed(buffers, architecture, batch, ranks, max_model_len)
    told = f"buffers for {batch.max_num_seqs} requests of {max_model_len} tokens: counted in the sources"
    high = int(HIGH * size) + HIGH_BESIDE
    each, tokens, forward = _copied_bytes(architecture, ranks), batch.max_num_batched_tokens, terms.forward
    return msgspec.structs.replace(
        terms,
        kept=msgspec.structs.replace(terms.kept, low=size, mid=size, high=high, source=told),
        forward=msgspec.structs.replace(
            forward,
            low=forward.low + each * min(tokens, max_model_len),
            mid=forward.mid + each * max(tokens, max_model_len),
            high=forward.high + each * (tokens + max_model_len),
            source=f"{forward.source}; and a copy of the keys and values of its prompts",
        ),
    )


def _fixed(buffers: Buffers, architecture: Architecture, batch: Batch, ranks: Ranks, max_model_len: int) -> int:
    element, words = DTYPE_BYTES[architecture.dtype], batch.max_num_seqs * padded_vocab(architecture.vocab)
    positions = buffers.position_bytes if architecture.name in buffers.position_names else 0
    requests = batch.max_num_seqs * max_model_len * (buffers.token_bytes + positions)
    tokens = batch.max_num_batched_tokens + batch.max_num_seqs
    exchanged = max(tokens * architecture.hidden, words) * element if ranks.world > 1 else 0
    parts = SPLIT_TOKENS * max(1, architecture.heads // ranks.tp) * max(_dims(architecture), default=0) * FLOAT32
    return int(requests + words * buffers.word_bytes + exchanged + parts + GEMM_BYTES)


def _dims(architecture: Architecture) -> list[int]:
    """Of a head, of each kind of attention."""
    caches = {cache for layer in architecture.layers for cache in layer.caches}
    whole = [one.head_dim for one in caches if isinstance(one, AttentionCache)]
    return [*whole, *(one.dim for one in caches if isinstance(one, LatentCache))]


def _copied_bytes(architecture: Architecture, ranks: Ranks) -> int:
    """Of a token, in the layer where that is most."""
    caches = {cache for layer in architecture.layers for cache in layer.caches}
    whole = [2 * max(1, one.kv_heads // ranks.tp) * one.head_dim for one in caches if isinstance(one, AttentionCache)]
    latent = [one.dim for one in caches if isinstance(one, LatentCache)]
    return max(*whole, *latent, 0, 0) * DTYPE_BYTES[architecture.dtype]
