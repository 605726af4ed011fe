"""How large is the KV cache of a token, and how many tokens does a budget hold?

Bytes per token and GPU = 2 · layers of the stage · max(1, kv heads / T) · head_dim · dtype bytes: K and V, full
attention in every layer. Blocks are whole, the engine keeps one for itself (BlockPool.null_block).
"""

from __future__ import annotations

from diag.facts.plan import KvCache
from diag.planner.shapes import Shapes
from diag.planner.weights import kv_heads_per_rank


def bytes_per_token(shapes: Shapes, *, tp: int, layers: int) -> int:
    return 2 * layers * kv_heads_per_rank(shapes, tp) * shapes.head_dim * shapes.dtype_bytes


def capacity_tokens(kv_bytes: int, per_token: int, block_size: int) -> int:
    """Tokens that requests can have at once."""
    return max(0, kv_bytes // (per_token * block_size) - 1) * block_size


def kv_cache(kv_bytes: int, per_token: int, block_size: int, max_model_len: int) -> KvCache:
    """``printed_tokens``: int(blocks / blocks of one full request · max_model_len), the engine's own block included."""
    blocks = max(0, kv_bytes // (per_token * block_size))
    concurrency = blocks / -(-max_model_len // block_size)
    return KvCache(
        bytes_per_token=per_token,
        capacity_tokens=capacity_tokens(kv_bytes, per_token, block_size),
        printed_tokens=int(concurrency * max_model_len),
        blocks=blocks,
        block_size=block_size,
        max_concurrency=round(concurrency, 2),
    )
