"""What does a model that is not understood take at most? Never a plan, only the end of its reason.

Weights: no more than its files hold; without files, what its config tells of layers, in 16 bit: each with keys and
values of all heads, twice, and a gated MLP for each expert. Every bundled model takes less. KV cache: no more than if
each head of each layer kept its own keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from diag.facts.model import ModelFiles
from diag.facts.record import NotMeasured
from diag.planner.model.gguf_files import GgufFile
from diag.planner.unknown import NotKnown
from diag.units import size

WEIGHT_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
ELEMENT_BYTES = 2
LAYERS = ("num_hidden_layers", "n_layer", "depth")
INNER = ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size", "shared_expert_intermediate_size")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
GATED = 3
"""Matrices of a gated MLP."""
TOWER = {"vocab_size": 65536}
"""Rows of the tables of a tower: positions, and what joins it to the model."""
WIDER = 2
"""Of attention: some layers have gates, or wider heads than the config says (Gemma 4, Qwen3-Next)."""
NORMS = 8
"""Vectors of a layer."""


def bounded(why: NotKnown, config: Mapping[str, Any], files: ModelFiles | None, gguf: GgufFile | None) -> NotKnown:
    """``why`` with the bounds that its config and its files give."""
    bounds = "; ".join(_bounds(config, files, gguf))
    return NotKnown(f"{why}; {bounds}", why.lever) if bounds else why


def _bounds(config: Mapping[str, Any], files: ModelFiles | None, gguf: GgufFile | None) -> Iterator[str]:
    weights = _file_bytes(files, gguf)
    if weights:
        yield f"weights at most {size(weights)} (its files)"
    elif gguf is None and (weights := weight_bytes_at_most(config)):
        yield f"weights at most {size(weights)} over all GPUs (by its config, 16 bit)"
    most = kv_bytes_at_most(_of_gguf(gguf) if gguf is not None else config)
    if most:
        yield f"KV cache at most {most:,} bytes a token over all GPUs (every head of every layer, 16 bit)"


def _file_bytes(files: ModelFiles | None, gguf: GgufFile | None) -> int:
    if gguf is not None:
        return gguf.file_bytes
    if files is None:
        return 0
    try:
        return files.weights_bytes
    except NotMeasured:
        return sum(file.size_bytes for file in files.files if file.name.endswith(WEIGHT_ENDINGS))


def _of_gguf(gguf: GgufFile) -> Mapping[str, Any]:
    """The keys that all architectures have."""
    keys = {"num_hidden_layers": "block_count", "num_attention_heads": "attention.head_count",
            "hidden_size": "embedding_length", "head_dim": "attention.key_length"}  # fmt: skip
    return {key: gguf.metadata.get(f"{gguf.architecture}.{name}") for key, name in keys.items()}


def kv_bytes_at_most(config: Mapping[str, Any]) -> int:
    """A token, undivided; 0: the config lacks the keys that bound it."""
    keys = _of_text(config)
    layers, heads = _count(keys, *LAYERS), _count(keys, "num_attention_heads", "n_head")
    heads = max(heads, _count(keys, "num_key_value_heads"))
    hidden = _count(keys, "hidden_size", "n_embd", "d_model")
    rope = _count(keys, "qk_nope_head_dim") + _count(keys, "qk_rope_head_dim")
    key_dim = max(_count(keys, "head_dim"), _count(keys, "global_head_dim"), rope, -(-hidden // heads) if heads else 0)
    return layers * heads * (key_dim + max(key_dim, _count(keys, "v_head_dim"))) * ELEMENT_BYTES


def weight_bytes_at_most(config: Mapping[str, Any]) -> int:
    """Undivided, with the tower of what it sees; 0: the config lacks the keys that bound it."""
    tower = config.get("vision_config")
    seen = weight_bytes_at_most({**TOWER, **tower}) if isinstance(tower, Mapping) else 0
    keys = _of_text(config)
    layers, hidden = _count(keys, *LAYERS), _count(keys, "hidden_size", "n_embd", "d_model")
    inner = max((_count(keys, name) for name in INNER), default=0) or 4 * hidden
    narrow = _count(keys, "moe_intermediate_size") or inner
    experts = max((_count(keys, name) for name in EXPERTS), default=0)
    shared = max(_count(keys, "n_shared_experts", "num_shared_experts"), 1) if experts else 0
    outputs = kv_bytes_at_most(config) // ELEMENT_BYTES // max(1, layers)
    attention = WIDER * 2 * hidden * max(outputs, 2 * hidden)
    mlp = GATED * hidden * (inner + (experts + shared) * narrow) + hidden * experts
    ends = 2 * hidden * _count(keys, "vocab_size")
    whole = (layers * (attention + mlp + NORMS * hidden) + ends) * ELEMENT_BYTES
    return whole + seen if layers and hidden else 0


def _of_text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = config.get("text_config")
    return {**config, **inner} if isinstance(inner, Mapping) else config


def _count(keys: Mapping[str, Any], *names: str) -> int:
    found = (keys[name] for name in names if isinstance(keys.get(name), int))
    return int(next(found, 0))
