"""What does a model that is not understood take at most? Never a plan, only the end of its reason.

Weights: no more than its files hold. KV cache: no more than if each head of each layer kept its own keys and values.
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


def bounded(why: NotKnown, config: Mapping[str, Any], files: ModelFiles | None, gguf: GgufFile | None) -> NotKnown:
    """``why`` with the bounds that its config and its files give."""
    bounds = "; ".join(_bounds(config, files, gguf))
    return NotKnown(f"{why}; {bounds}", why.lever) if bounds else why


def _bounds(config: Mapping[str, Any], files: ModelFiles | None, gguf: GgufFile | None) -> Iterator[str]:
    weights = _file_bytes(files, gguf)
    if weights:
        yield f"weights at most {size(weights)} (its files)"
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
    inner = config.get("text_config")
    keys = {**config, **inner} if isinstance(inner, Mapping) else config
    layers, heads = _count(keys, "num_hidden_layers", "n_layer"), _count(keys, "num_attention_heads", "n_head")
    heads = max(heads, _count(keys, "num_key_value_heads"))
    hidden = _count(keys, "hidden_size", "n_embd", "d_model")
    rope = _count(keys, "qk_nope_head_dim") + _count(keys, "qk_rope_head_dim")
    key_dim = max(_count(keys, "head_dim"), rope, -(-hidden // heads) if heads else 0)
    return layers * heads * (key_dim + max(key_dim, _count(keys, "v_head_dim"))) * ELEMENT_BYTES


def _count(keys: Mapping[str, Any], *names: str) -> int:
    found = (keys[name] for name in names if isinstance(keys.get(name), int))
    return int(next(found, 0))
