"""How do layers and what stands around them become an Architecture, where the text model may be inside a wrapper?

``text`` is the config of the language model, ``text.outer`` that of the wrapper, when there is one.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from diag.planner.model.architecture import Architecture, AttentionCache, Layer, RotaryTable, Weight
from diag.planner.model.families import parts, rotary
from diag.planner.model.families.config import Config
from diag.planner.model.families.lengths import longest_context

EVERY_STAGE = ("embedding", "norm", "head")
DRAFTS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules")
"""Layers for multi-token prediction: engines load them only when told to draft with them."""


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What a checkpoint calls what stands around its layers; ``model`` is the common prefix of all but the head."""

    model: str = "model"
    embedding: str = "embed_tokens"
    norm: str = "norm"
    head: str = "lm_head"
    norm_bias: bool = False
    every_stage: tuple[str, ...] = ()
    """Which of ``embedding``, ``norm`` and ``head`` every stage of a pipeline builds."""

    def below(self, name: str) -> str:
        return f"{self.model}.{name}" if self.model else name


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What only some families have. ``first`` and ``last`` come beside embedding, norm and head."""

    first: tuple[Weight, ...] = ()
    last: tuple[Weight, ...] = ()
    experts: int = 0
    experts_per_token: int = 0
    vision: bool = False
    rotary: tuple[RotaryTable, ...] | None = None
    """None: as the config says it; empty: positions do not turn."""
    architecture: str | None = None
    """The class where the config does not name one."""


def whole(text: Config, layers: Iterable[Layer], names: Names, around: Around) -> Architecture:
    layers = tuple(layers)
    top = text.outer or text
    hidden, vocab = text.count("hidden_size"), text.count("vocab_size")
    tied = tied_embedding(text)
    return Architecture(
        name=top.architecture(around.architecture),
        model_type=top.text("model_type"),
        layers=layers,
        first=(*around.first, _embedding(names, vocab, hidden)),
        last=(_norm(names, hidden), *around.last, _head(names, vocab, hidden, tied=tied)),
        hidden=hidden,
        heads=text.count("num_attention_heads"),
        kv_heads=max((kv_heads(layer) for layer in layers), default=0),
        inner=widest_inner(layers),
        experts=around.experts,
        experts_per_token=around.experts_per_token,
        vocab=vocab,
        max_len=longest_context(text),
        dtype=text.dtype(),
        stored_dtype=text.stored_dtype(),
        tied=tied,
        rotary=rotary.tables(text, layers) if around.rotary is None else around.rotary,
        vision=around.vision,
        left_out=drafts(text),
    )


def tied_embedding(text: Config) -> bool:
    """A wrapper says it for a text config that does not."""
    outside = text.outer.flag("tie_word_embeddings") if text.outer else False
    return text.flag("tie_word_embeddings", outside)


def widest_inner(layers: Iterable[Layer]) -> int:
    """Of the matrices whose columns the ranks divide, without the output of attention; its own where there is none."""
    weights: set[Weight] = {one for kind in {layer.weights for layer in layers} for one in kind}
    inner = [w.columns for w in weights if w.shard == "columns" and "attn" not in w.name and "attention" not in w.name]
    return max(inner, default=0)


def drafts(text: Config) -> tuple[str, ...]:
    found = ((text.count(key), key) for key in DRAFTS if text.get(key))
    return tuple(f"{count} draft layer{'s' * (count > 1)} (multi-token prediction, {key})" for count, key in found)


def kv_heads(layer: Layer) -> int:
    """A latent or compressed entry is one head."""
    return max(
        (cache.kv_heads if isinstance(cache, AttentionCache) else 1 for cache in layer.caches),
        default=0,
    )


def _embedding(names: Names, vocab: int, hidden: int) -> Weight:
    every = "embedding" in names.every_stage
    return parts.embedding(names.below(names.embedding), vocab, hidden, every_stage=every)


def _norm(names: Names, hidden: int) -> Weight:
    norm = parts.norm(names.below(names.norm), hidden, bias=names.norm_bias)
    return msgspec.structs.replace(norm, every_stage="norm" in names.every_stage)


def _head(names: Names, vocab: int, hidden: int, *, tied: bool) -> Weight:
    return parts.head(names.head, vocab, hidden, tied=tied, every_stage="head" in names.every_stage)
