"""What is a model made of, layer by layer? Engine-neutral: whole tensors and whole caches, nothing divided yet.

A config becomes an Architecture (``families/``); ``shards.py`` divides its weights over ranks, an engine's rules page
its caches. What is not one of these words is ``NotKnown``.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from diag.planner.model.formats.quantization import Format, Quantization

Shard = Literal["whole", "rows", "columns", "heads", "vocab"]
"""How ranks of one tensor-parallel group divide a matrix of rows (outputs) × columns (inputs).

``rows`` and ``columns`` divide evenly or not at all; ``heads``: rows in ``heads`` equal parts, a part is repeated where
there are more ranks than parts; ``vocab``: rows padded to a multiple of 64 first.
"""


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """``count`` equal matrices. ``name`` as the checkpoint calls it below its layer, e.g. ``self_attn.q_proj``."""

    name: str
    rows: int
    columns: int = 1
    count: int = 1
    shard: Shard = "whole"
    heads: int = 0
    """Parts of ``heads``; 0 elsewhere."""
    repeats: bool = True
    """Parts of ``heads`` may be repeated; False: more ranks than parts are refused (groups of a Mamba 2)."""
    expert: bool = False
    """One of ``count`` routed experts: expert parallelism gives whole ones to ranks, else each is divided."""
    bias: bool = False
    """``rows`` more elements, divided as the rows are (``columns``: on every rank)."""
    dtype_bytes: float | None = None
    """Where it is not the model's own, e.g. 4 for a float32 router bias; never quantized then."""
    linear: bool = True
    """A linear layer, which a quantized checkpoint quantizes unless it ignores it; norms, tables, convolutions not."""
    format: Format | None = None
    """How it is stored where that is not the model's dtype."""
    every_stage: bool = False
    """Every stage of a pipeline holds it: vision towers; with some model classes embedding, last norm and head too."""
    stored: bool = True
    """In the checkpoint; False: engines make it from another one when they load (values that are the keys again)."""
    undivided_unless: int = 0
    """Every rank holds all of it where the ranks do not divide this number: the heads of a vision tower; 0: divided."""
    part_multiple: int = 1
    """What one rank holds of the divided side is padded to a multiple of this, where it is divided."""
    part_least: int = 0
    """And to at least this, where there is more than one rank."""


class AttentionCache(msgspec.Struct, frozen=True, kw_only=True, tag="attention"):
    """Keys and values. ``window``: tokens a sliding window sees; ``chunk``: of chunked local attention; 0: all."""

    kv_heads: int
    head_dim: int
    v_head_dim: int
    window: int = 0
    chunk: int = 0


class LatentCache(msgspec.Struct, frozen=True, kw_only=True, tag="latent"):
    """One compressed entry a token, on every rank (MLA): kv_lora_rank + qk_rope_head_dim elements.

    ``rope_dim`` of ``dim`` carry the position, and stay unquantized in some cache formats. ``indexer_dim``: keys of a
    sparse-attention indexer beside it; 0: none. ``sparse``: attends to what its or an earlier layer's indexer chose.
    """

    dim: int
    indexer_dim: int = 0
    rope_dim: int = 0
    sparse: bool = False


class StateCache(msgspec.Struct, frozen=True, kw_only=True, tag="state"):
    """A recurrent state a sequence, not a token. Element counts on one of T ranks: see ``state.py``.

    ``kind``: mamba2, gdn, kda, bounded_kda (its decay has a lower bound), short_conv. ``conv``: channels of the
    convolution as (groups of heads, dim each); its window holds ``kernel - 1`` of each. ``temporal``: heads × dim × dim
    elements.
    """

    kind: str
    conv_parts: tuple[tuple[int, int], ...]
    kernel: int
    temporal: tuple[int, int, int] = (0, 0, 0)
    temporal_bytes: int = 4
    """Of one element; the convolution's has the model's dtype."""


class CompressedCache(msgspec.Struct, frozen=True, kw_only=True, tag="compressed"):
    """Attention over a window and over summaries of ``ratio`` tokens each (0: the window only).

    Keys and values are one entry of ``dim``, on every rank, of which ``rope_dim`` carry the position. Summaries of 4
    tokens overlap (8 tokens each), those of 128 do not; ``indexer_dim``: the keys that choose among them; 0: all seen.
    """

    dim: int
    window: int
    ratio: int = 0
    indexer_dim: int = 0
    rope_dim: int = 0


Cache = AttentionCache | LatentCache | StateCache | CompressedCache


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One decoder layer. ``prefix``, e.g. ``model.layers.3``, is what ignore lists call it.

    ``caches`` empty: nothing is kept between tokens.
    """

    prefix: str

    weights: tuple[Weight, ...]
    caches: tuple[Cache, ...] = ()


class RotaryTable(msgspec.Struct, frozen=True, kw_only=True):
    """Cosine and sine of ``positions``, ``dim`` elements together for each; on every rank.

    ``element_bytes`` 0: as many as the model's dtype has, or as the engine takes for all.
    """

    positions: int
    dim: int
    element_bytes: int = 0


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """A whole model. ``first`` stand before the layers (embedding, vision tower), ``last`` behind them (norm, head)."""

    name: str
    """As ``architectures`` of the config has it."""
    model_type: str
    layers: tuple[Layer, ...]
    first: tuple[Weight, ...]
    last: tuple[Weight, ...]
    hidden: int
    heads: int
    kv_heads: int
    """Most of any layer."""
    inner: int
    """Widest inner layer of a dense MLP, or of one expert; for the forward pass."""
    experts: int = 0
    experts_per_token: int = 0
    vocab: int
    max_len: int
    dtype: str
    """Once loaded; ``stored_dtype`` is the checkpoint's, where engines cast it (float32)."""
    stored_dtype: str | None = None
    tied: bool = False
    """The head is the embedding; with a pipeline both ends hold it. ``last`` names the head all the same."""
    quantization: Quantization | None = None
    rotary: tuple[RotaryTable, ...] = ()
    """Made when the model is loaded, not stored with it."""
    vision: bool = False
    image_width: int = 0
    """Elements of one token of an image where the tower gives several layers of the model their own; else 0."""
    encoder: bool = False
    """An encoder or embedding model: recognised, has no KV cache that grows."""
    left_out: tuple[str, ...] = ()
    """What the config names and engines do not load by default (draft layers), one line each."""
