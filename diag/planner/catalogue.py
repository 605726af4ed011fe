"""Models that can be planned for without any file: their published shapes, as a ``config.json`` spells them."""

from __future__ import annotations

from collections.abc import Mapping

DEFAULT = "Qwen/Qwen3-0.6B"

BUNDLED: Mapping[str, Mapping[str, object]] = {
    DEFAULT: {  # https://huggingface.co/Qwen/Qwen3-0.6B/blob/main/config.json
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "num_hidden_layers": 28,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
        "vocab_size": 151936,
        "max_position_embeddings": 40960,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
    },
}

SHORT: Mapping[str, str] = {name.partition("/")[2]: name for name in BUNDLED}
"""The name without who published it, as people type it."""
