"""Can ranks divide the tokens of a request between them (decode context parallelism), and what else does it change?

Symbols: T tensor-parallel ranks, C of which divide the tokens, K KV heads, A query heads. Without MLA each head's
tokens are divided by ranks that would all hold them: T > K, C ≤ T / K, and C divides A / K. Sources: vLLM's
config/parallel.py and config/model.py (verify_with_parallel_config), the ``supports_dcp`` of its attention backends;
SGLang's arg_groups/parallel_hook.py and ModelConfig.get_num_kv_heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from diag.planner.deployment import Deployment
from diag.planner.memory.same import Same
from diag.planner.model.architecture import (
    Architecture,
    AttentionCache,
    Cache,
    CompressedCache,
    Layer,
    StateCache,
    Weight,
)
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.shards import Split, rank_bytes
from diag.planner.rules import EngineRules, TokenKind

TOLD: Mapping[TokenKind, str] = {
    "full": "keys and values of all tokens",
    "window": "windows or chunks of tokens",
    "latent": "compressed entries (MLA)",
    "sparse": "compressed entries of which an indexer chooses",
    "state": "recurrent states",
    "compressed": "summaries of tokens",
}
QUERIES = ("self_attn.q_b_proj", "self_attn.q_proj")
KEYS_AND_VALUES, OUTPUT = "self_attn.kv_b_proj", "self_attn.o_proj"


def why_not(deployment: Deployment, architecture: Architecture, rules: EngineRules) -> str | None:
    """The first rule that it breaks, with its numbers; None: none, or nothing is divided."""
    ranks, tp = deployment.dcp, deployment.tp
    if ranks == 1:
        return None
    if not rules.divides_tokens_of:
        since = f": known from {rules.tokens_divided_since} on" if rules.tokens_divided_since else ""
        return f"{rules.engine} {rules.version} does not divide the tokens of a request over ranks{since}"
    if tp % ranks:
        return f"tensor parallel {tp} does not divide by decode context parallel {ranks}"
    kept = _kinds(Same(architecture))
    other = next((kind for kind in kept if kind not in rules.divides_tokens_of), None)
    if other is not None:
        return f"{rules.engine} {rules.version} does not divide the tokens of {TOLD[other]} over ranks"
    return _heads(architecture, tp, ranks) if "full" in kept else None


def _heads(architecture: Architecture, tp: int, ranks: int) -> str | None:
    kv_heads, queries = architecture.kv_heads, architecture.heads // architecture.kv_heads
    if tp <= kv_heads:
        return f"decode context parallel: tensor parallel {tp} is not more than the {kv_heads} KV heads"
    if ranks > tp // kv_heads:
        most = tp // kv_heads
        return f"decode context parallel {ranks}: at most {most} with {kv_heads} KV heads on {tp} ranks"
    if queries % ranks:
        return f"{queries} query heads a KV head do not divide by decode context parallel {ranks}"
    return None


@lru_cache(maxsize=16)
def _kinds(architecture: Same[Architecture]) -> tuple[TokenKind, ...]:
    caches = (cache for layer in architecture.value.layers for cache in layer.caches)
    return tuple(dict.fromkeys(_kind(cache) for cache in caches))


def _kind(cache: Cache) -> TokenKind:
    if isinstance(cache, AttentionCache):
        return "window" if cache.window or cache.chunk else "full"
    if isinstance(cache, StateCache):
        return "state"
    if isinstance(cache, CompressedCache):
        return "compressed"
    return "sparse" if cache.sparse else "latent"


def repeated_queries_bytes(architecture: Architecture, deployment: Deployment, rules: EngineRules) -> int:
    """Of one rank that keeps, beside its own, what makes the queries of all that divide a request's tokens, and what
    takes them to the compressed entries (SGLang's _prepare_replicated_q_proj).
    """
    if deployment.dcp == 1 or architecture.name not in rules.repeats_queries_of:
        return 0
    return _repeated_bytes(Same(architecture), deployment.tp // deployment.dcp)


@lru_cache(maxsize=16)
def _repeated_bytes(architecture: Same[Architecture], parts: int) -> int:
    size, split = DTYPE_BYTES[architecture.value.dtype], Split(tp=parts)
    return sum(rank_bytes(one, split, size) for layer in architecture.value.layers for one in _queries(layer))


def _queries(layer: Layer) -> tuple[Weight, ...]:
    named = {weight.name: weight for weight in layer.weights}
    if KEYS_AND_VALUES not in named:
        return ()
    into, out = named[KEYS_AND_VALUES], named[OUTPUT]
    keys = Weight(name=KEYS_AND_VALUES, rows=into.rows - out.columns, columns=into.columns, shard="rows", linear=False)
    return (*(named[name] for name in QUERIES if name in named), keys)
