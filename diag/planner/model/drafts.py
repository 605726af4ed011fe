"""What guesses tokens ahead for a model (speculative decoding), and what is it made of?

A model's own draft layers, a head made for it, another and smaller model, or nothing that has weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from diag.planner.model import families
from diag.planner.model.architecture import Architecture, Layer, Weight
from diag.planner.model.models import Model, read_architecture
from diag.planner.unknown import NotKnown

Kind = Literal["own layers", "head", "model", "nothing"]
KINDS: Mapping[str, Kind] = {
    "mtp": "own layers",
    "nextn": "own layers",
    "eagle3": "head",
    "draft_model": "model",
    "standalone": "model",
    "ngram": "nothing",
}
"""By what engines call it, in small letters; whatever ends in ``_mtp`` is a model's own layers."""
CERTAIN = "fp8"
"""Checkpoints of this method name what of their draft layers is not quantized; those of others may not."""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """``tokens``: guessed ahead of each step. ``architecture`` None: nothing with weights guesses."""

    method: str
    kind: Kind
    tokens: int
    architecture: Architecture | None = None
    most: Architecture | None = None
    """What it is at most, where that is not known; None: it is."""
    told: str = ""

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.architecture.layers if self.architecture else ()


def kind_of(method: str) -> Kind | None:
    """None: not known to the planner."""
    name = method.lower()
    return "own layers" if name.endswith("_mtp") else KINDS.get(name)


def own_layers(model: Model, tokens: int, method: str) -> Draft | None:
    """None: the model has none. Raises NotKnown."""
    found = families.read_draft(model.config, model.hf_quant) if model.config else None
    if found is None:
        return None
    doubtful = found.quantization is not None and found.quantization.method != CERTAIN
    count = len(found.layers)
    return Draft(
        method=method,
        kind="own layers",
        tokens=tokens,
        architecture=found,
        most=_plain(found) if doubtful else None,
        told=f"{count} draft layer{'s' if count > 1 else ''} of {model.name}",
    )


def head(model: Model, target: Architecture, tokens: int, method: str) -> Draft:
    """Its embedding is shared with the target where it is the same, which the config does not say. Raises NotKnown."""
    whole = families.read_eagle3(model.config, target.hidden)
    if whole.vocab != target.vocab:
        raise NotKnown(f"a head of {whole.vocab:,} words for a model of {target.vocab:,}", "name one made for it")
    shared = msgspec.structs.replace(whole, first=())
    return Draft(
        method=method, kind="head", tokens=tokens, architecture=shared, most=whole, told=f"the head {model.name}"
    )


def other_model(model: Model, target: Architecture, tokens: int, method: str) -> Draft:
    """Raises NotKnown."""
    found = read_architecture(model)
    if found.encoder or found.vision:
        raise NotKnown(f"{found.name} as a draft", "name a decoder of text")
    if found.vocab != target.vocab:
        raise NotKnown(f"a draft of {found.vocab:,} words for a model of {target.vocab:,}", "name one of its family")
    return Draft(method=method, kind="model", tokens=tokens, architecture=found, told=f"the model {model.name}")


def _plain(architecture: Architecture) -> Architecture:
    layers = tuple(
        msgspec.structs.replace(layer, weights=tuple(map(_unformatted, layer.weights))) for layer in architecture.layers
    )
    return msgspec.structs.replace(architecture, layers=layers, last=tuple(map(_unformatted, architecture.last)))


def _unformatted(weight: Weight) -> Weight:
    return weight if weight.format is None else msgspec.structs.replace(weight, format=None)
