"""How many bytes does vLLM keep for one token in one layer, in which cache dtype?

Symbols: n heads of a rank, k and v head dims, r the compressed dim of MLA. Sources: AttentionSpec and the backends'
``customize_spec`` (v1/kv_cache_interface.py, v1/attention/backends).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from diag.planner.memory.paging.settings import Settings
from diag.planner.model.architecture import Architecture, AttentionCache, CompressedCache, LatentCache
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.unknown import NotKnown

_PER_TOKEN_SCALES = 8
"""A float32 scale for keys and one for values, a head and token."""

PACKED = "fp8_ds_mla"
PACKED_FP8 = 656
"""512 elements of fp8, 4 float32 scales, 64 elements of bf16 (FlashMLA's fp8_ds_mla)."""
_SPARSE_NVFP4 = 352
COMPRESSED_FP8 = 584
"""DeepSeek-V4: 448 elements of fp8, 64 of bf16, 8 bytes of scales."""


def _nvfp4(dim: int) -> int:
    return dim // 2 + dim // 16


_HEAD_BYTES: Mapping[str, Callable[[int, int], int]] = {
    "fp8": lambda k, v: k + v,
    "fp8_e4m3": lambda k, v: k + v,
    "fp8_e5m2": lambda k, v: k + v,
    "nvfp4": lambda k, v: _nvfp4(k) + _nvfp4(v),
    "nvfp4_4over6": lambda k, v: _nvfp4(k) + _nvfp4(v),
    "int8_per_token_head": lambda k, v: k + v + _PER_TOKEN_SCALES,
    "fp8_per_token_head": lambda k, v: k + v + _PER_TOKEN_SCALES,
    "int4_per_token_head": lambda k, v: k // 2 + v // 2 + _PER_TOKEN_SCALES,
}
"""Of k + v elements, where they are not kept in 16 or 32 bits."""

_LATENT_BYTES: Mapping[str, Callable[[int], int]] = {
    "fp8": lambda r: r,
    "fp8_e4m3": lambda r: r,
    PACKED: lambda _: PACKED_FP8,
    "nvfp4_ds_mla": lambda _: _SPARSE_NVFP4,
    "int8_per_token_head": lambda r: r + _PER_TOKEN_SCALES,
    "fp8_per_token_head": lambda r: r + _PER_TOKEN_SCALES,
}


def stored_dtype(architecture: Architecture, settings: Settings) -> str:
    """``auto`` is what the checkpoint asks for, where it names its method, or else the model's own dtype."""
    if settings.kv_cache_dtype != "auto":
        return settings.kv_cache_dtype
    said = architecture.quantization if settings.rules.heeds_checkpoint else None
    return (said.kv_cache_dtype if said and not said.unnamed else None) or architecture.dtype


def sparse_dtype(dtype: str, settings: Settings) -> str:
    """FlashMLA's sparse kernels read 8-bit entries in a layout of their own."""
    rules, major = settings.rules, settings.compute_capability[0]
    quantized = dtype.startswith("fp8") and major in rules.packed_sparse
    return PACKED if quantized or (settings.kv_cache_dtype == "auto" and major in rules.packed_always) else dtype


def attention_bytes(cache: AttentionCache, heads: int, dtype: str) -> int:
    """Keys and values: n · (k + v) · bytes."""
    if dtype in DTYPE_BYTES:
        return heads * (cache.head_dim + cache.v_head_dim) * DTYPE_BYTES[dtype]
    return heads * _known(_HEAD_BYTES, dtype, "keys and values")(cache.head_dim, cache.v_head_dim)


def latent_bytes(cache: LatentCache, dtype: str) -> int:
    """MLA: r · bytes, or the packed layout of a sparse kernel; the same on every rank."""
    if dtype in DTYPE_BYTES:
        return cache.dim * DTYPE_BYTES[dtype]
    return _known(_LATENT_BYTES, dtype, "the compressed entries of MLA")(cache.dim)


def indexer_bytes(dim: int) -> int:
    """fp8 keys and a float32 scale for each 128 of them, whatever the dtype of the cache."""
    return dim + dim // 128 * 4


def compressed_bytes(cache: CompressedCache, asked: str) -> int:
    """One packed layout, whatever 8-bit type is asked for; ``auto`` is that too."""
    if asked == "auto" or asked.startswith("fp8"):
        return COMPRESSED_FP8
    raise NotKnown(f"a KV cache of dtype {asked!r} for {cache.dim} compressed elements", "--kv-cache-dtype fp8")


def _known(table: Mapping[str, Callable[..., int]], dtype: str, what: str) -> Callable[..., int]:
    if dtype not in table:
        raise NotKnown(f"a KV cache of dtype {dtype!r} for {what}: known are {', '.join((*DTYPE_BYTES, *table))}")
    return table[dtype]
