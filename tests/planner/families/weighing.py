"""Elements and bytes of a model that a test made up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diag.planner.model.architecture import Architecture, Weight
from diag.planner.model.families import read

SMALL: Mapping[str, Any] = {
    "num_hidden_layers": 4,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
"""H 64, A 4, K 2, D 16, INNER 96, V 1000, L 4: keys that most families have."""
H, A, K, D, INNER, V = 64, 4, 2, 16, 96, 1000
ATTENTION = H * A * D + 2 * H * K * D + A * D * H
"""Of q, k and v, o: 64 · 64 + 2 · 64 · 32 + 64 · 64."""
GATED = 3 * H * INNER


def small(model_type: str, architecture: str, **keys: Any) -> Architecture:
    return read({**SMALL, "model_type": model_type, "architectures": [architecture], **keys})


def elements(model: Architecture, layer: int) -> dict[str, int]:
    """Of a layer, by name; parts of one matrix together."""
    return by_name(model.layers[layer].weights)


def by_name(weights: tuple[Weight, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for weight in weights:
        one = (weight.rows * weight.columns + weight.rows * weight.bias) * weight.count
        found[weight.name] = found.get(weight.name, 0) + one
    return found


def total(model: Architecture, layer: int) -> int:
    return sum(elements(model, layer).values())
