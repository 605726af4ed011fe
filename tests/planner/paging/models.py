"""Models that are nothing but what their layers keep between tokens."""

from __future__ import annotations

from typing import Any

from diag.planner.memory.paging.settings import Settings
from diag.planner.memory.paging.split import Split
from diag.planner.memory.paging.versions import vllm_paging
from diag.planner.memory.paging.vllm import Layout, layout
from diag.planner.model import catalogue
from diag.planner.model.architecture import (
    Architecture,
    AttentionCache,
    Cache,
    CompressedCache,
    LatentCache,
    Layer,
    StateCache,
)
from diag.planner.model.families import read

FULL = AttentionCache(kv_heads=8, head_dim=128, v_head_dim=128)
"""4096 bytes a token in 16 bit, a page of 16 tokens 64 KiB."""
WINDOW = AttentionCache(kv_heads=8, head_dim=128, v_head_dim=128, window=128)
CHUNK = AttentionCache(kv_heads=8, head_dim=128, v_head_dim=128, chunk=256)
LATENT = LatentCache(dim=576, rope_dim=64)
SPARSE = LatentCache(dim=576, rope_dim=64, indexer_dim=128, sparse=True)
STATE = StateCache(kind="gdn", conv_parts=((16, 128), (16, 128), (48, 128)), kernel=4, temporal=(48, 128, 128))
"""Of Qwen3.5-27B: 3,207,168 bytes."""
COMPRESSED = CompressedCache(dim=512, window=128, ratio=4, indexer_dim=128, rope_dim=64)
GIB = 2**30


def keeping(*caches: Cache | tuple[Cache, ...], **changes: Any) -> Architecture:
    """A model with a layer for each."""
    kept = [one if isinstance(one, tuple) else (one,) for one in caches]
    given: dict[str, Any] = {
        "name": "AForCausalLM",
        "model_type": "a",
        "layers": tuple(
            Layer(prefix=f"model.layers.{number}", weights=(), caches=one) for number, one in enumerate(kept)
        ),
        "first": (),
        "last": (),
        "hidden": 64,
        "heads": 32,
        "kv_heads": 8,
        "inner": 64,
        "vocab": 1000,
        "max_len": 131_072,
        "dtype": "bfloat16",
    }
    return Architecture(**{**given, **changes})


def shipped(name: str) -> Architecture:
    files = catalogue.bundled(name)
    return read(files.config, files.hf_quant)


def settings(version: tuple[int, int] = (0, 32), **changes: Any) -> Settings:
    """8192 tokens of context and a batch."""
    given: dict[str, Any] = {"max_model_len": 8192, "max_num_batched_tokens": 8192}
    return Settings(rules=vllm_paging(version), **{**given, **changes})


def laid_out(model: Architecture, version: tuple[int, int] = (0, 32), *, tp: int = 1, **changes: Any) -> Layout:
    split = {key: changes.pop(key) for key in ("pp", "stage", "dcp") if key in changes}
    return layout(model, Split(tp=tp, **split), settings(version, **changes))
