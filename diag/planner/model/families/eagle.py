"""Which weights and caches has a head that guesses tokens for another model (EAGLE-3)?

Layers of Llama, of which the first reads the embedding beside the projected hidden states (2H); these are three of the
other model's (3 × its H). Its own head knows ``draft_vocab_size`` words. Checked against the parameters that vLLM 0.32
creates (llama_eagle3.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from diag.planner.model.architecture import Architecture, Layer, Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config
from diag.planner.model.families.decoder import LLAMA
from diag.planner.model.families.family import PRE_NORMS, cache, shape_of
from diag.planner.model.families.whole import Around, Names, whole
from diag.planner.unknown import NotKnown

EAGLE3 = ("LlamaForCausalLMEagle3", "Eagle3LlamaForCausalLM")
HIDDEN_STATES = 3
INT64 = 8


def read_eagle3(config: Config, hidden: int) -> Architecture:
    """``hidden``: H of the model that it guesses for; it is made for its own where it does not say. Raises NotKnown."""
    name = config.architecture()
    if name not in EAGLE3:
        raise NotKnown(f"{name}: of heads that guess tokens the planner knows {', '.join(EAGLE3)}")
    draft_vocab = config.count("draft_vocab_size", config.count("vocab_size"))
    own = config.count("hidden_size")
    if (target := config.count("target_hidden_size", own)) != hidden:
        raise NotKnown(f"a head for hidden states of {target:,} for a model of {hidden:,}", "name one made for it")
    fusion = parts.router("fc", own, HIDDEN_STATES * hidden)
    found = whole(config, _layers(config), Names(), Around(last=(fusion, _words(draft_vocab))))
    *others, head = found.last
    return msgspec.structs.replace(found, last=(*others, msgspec.structs.replace(head, rows=draft_vocab)))


def _words(count: int) -> Weight:
    """Which words of the other model they are."""
    return parts.vector("draft_id_to_target_id", count, dtype_bytes=INT64)


def _layers(config: Config) -> Iterator[Layer]:
    shape = shape_of(LLAMA, config)
    norms = tuple(parts.norm(name, shape.hidden) for name in PRE_NORMS)
    mlp = parts.mlp("mlp", shape.hidden, config.count("intermediate_size"))
    wide = msgspec.structs.replace(shape, hidden=2 * shape.hidden)
    queries, keys, values, *_ = parts.attention(wide)
    *_, out = parts.attention(shape)[:4]
    first = (queries, keys, values, out, *mlp, *norms, parts.norm("hidden_norm", shape.hidden))
    others = (*parts.attention(shape), *mlp, *norms)
    for layer in range(config.count("num_hidden_layers")):
        weights = others if layer else first
        yield Layer(prefix=f"layers.{layer}", weights=weights, caches=(cache(shape, 0),))
