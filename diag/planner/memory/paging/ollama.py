"""How large is the KV cache of llama.cpp, which Ollama starts, and how long a context fits?

Every request has a stream of its own of num_ctx cells, rounded up to 256; layers with a window have only the cells of
the window and of one batch. MLA keeps no values, recurrent layers one state a request in float32. Memory is that of all
GPUs together: layers are divided over them. Source: llama.cpp's src/llama-kv-cache.cpp, llama-kv-cache-iswa.cpp,
llama-memory-recurrent.cpp and llama-hparams.cpp; Ollama's llm/llama_server.go (fb30760).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from diag.planner.memory.paging.paged import Paged
from diag.planner.model.architecture import Architecture, AttentionCache, Cache, LatentCache, StateCache
from diag.planner.model.state import conv_elements, temporal_elements
from diag.planner.unknown import NotKnown

TYPE_BYTES: Mapping[str, float] = {
    "f32": 4,
    "f16": 2,
    "bf16": 2,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""Of one element, with the scales of its block of 32 (ggml-common.h)."""
_CELLS = 256
_FLOAT32 = 4


class OllamaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``num_ctx`` of each of ``num_parallel`` requests."""

    num_ctx: int
    num_parallel: int = 1
    k_type: str = "f16"
    v_type: str = "f16"
    num_batch: int = 512


def paged(architecture: Architecture, settings: OllamaSettings, kv_bytes: int) -> Paged:
    """It takes what ``num_ctx`` needs and no more. Raises NotKnown."""
    stream = stream_bytes(architecture, settings)
    cells = _padded(settings.num_ctx)
    marginal = sum(
        _cell_bytes(cache, settings)
        for layer in architecture.layers
        for cache in layer.caches
        if not isinstance(cache, StateCache) and not _reach(cache)
    )
    return Paged(
        blocks=settings.num_parallel,
        block_size=cells,
        bytes_per_block=stream,
        bytes_per_token=marginal,
        request_blocks=1,
        request_bytes=stream,
        capacity_tokens=settings.num_ctx * settings.num_parallel,
        printed_tokens=cells * settings.num_parallel,
        max_concurrency=float(settings.num_parallel),
        max_requests=settings.num_parallel,
        starts=stream * settings.num_parallel <= kv_bytes,
    )


def stream_bytes(architecture: Architecture, settings: OllamaSettings) -> int:
    """Of one request."""
    if architecture.encoder:
        raise NotKnown("an encoder keeps no KV cache that grows")
    return sum(_bytes(cache, settings) for layer in architecture.layers for cache in layer.caches)


def longest(architecture: Architecture, settings: OllamaSettings, kv_bytes: int) -> int:
    """The longest ``num_ctx`` up to what the model knows; 0: not even one cell of 256."""
    least, most = 0, -(-architecture.max_len // _CELLS)
    while least < most:
        middle = -(-(least + most) // 2)
        longer = msgspec.structs.replace(settings, num_ctx=middle * _CELLS)
        if stream_bytes(architecture, longer) * settings.num_parallel <= kv_bytes:
            least = middle
        else:
            most = middle - 1
    return min(least * _CELLS, architecture.max_len)


def _bytes(cache: Cache, settings: OllamaSettings) -> int:
    if isinstance(cache, StateCache):
        return (conv_elements(cache, tp=1) + temporal_elements(cache, tp=1)) * _FLOAT32
    cells, reach = _padded(settings.num_ctx), _reach(cache)
    if reach:
        cells = _padded(min(cells, reach + settings.num_batch))
    return int(cells * _cell_bytes(cache, settings))


def _reach(cache: Cache) -> int:
    """Tokens that a layer sees; 0: all."""
    return cache.window or cache.chunk if isinstance(cache, AttentionCache) else 0


def _cell_bytes(cache: Cache, settings: OllamaSettings) -> float:
    if isinstance(cache, AttentionCache):
        k, v = cache.kv_heads * cache.head_dim, cache.kv_heads * cache.v_head_dim
        return k * _type_bytes(settings.k_type) + v * _type_bytes(settings.v_type)
    if isinstance(cache, LatentCache) and not cache.sparse:
        return cache.dim * _type_bytes(settings.k_type)
    raise NotKnown("sparse and compressed attention in llama.cpp")


def _type_bytes(name: str) -> float:
    if name not in TYPE_BYTES:
        raise NotKnown(f"a KV cache of type {name!r}: known are {', '.join(TYPE_BYTES)}")
    return TYPE_BYTES[name]


def _padded(cells: int) -> int:
    return -(-cells // _CELLS) * _CELLS
