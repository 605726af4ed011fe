"""Which layers of a mixture of experts have routed experts, and which weights are they?

A family says how its config and its checkpoint call them. The router stays in float32 where vLLM keeps it so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from diag.planner.model.architecture import Weight
from diag.planner.model.families import parts
from diag.planner.model.families.config import Config

FLOAT32 = 4


def every_layer(config: Config, layer: int) -> bool:  # noqa: ARG001 - the signature of the rules
    return True


def after_the_dense(config: Config, layer: int) -> bool:
    return layer >= config.count("first_k_dense_replace", 0, least=0)


def by_step(config: Config, layer: int) -> bool:
    """Every ``decoder_sparse_step``-th, unless it is named in ``mlp_only_layers``."""
    named = config.list("mlp_only_layers", ())
    return layer not in named and (layer + 1) % config.count("decoder_sparse_step", 1) == 0


class Sparse(msgspec.Struct, frozen=True, kw_only=True):
    """``count``, ``inner``, ``shared_inner``: config keys; the other texts are names in the checkpoint."""

    count: str
    inner: str = "moe_intermediate_size"
    chosen: str = "num_experts_per_tok"
    layers: Callable[[Config, int], bool] = every_layer
    block: str = "mlp"
    router: str = "gate"
    router_bytes: float | None = None
    experts: Sequence[str] = parts.GATED
    correction: str = ""
    correction_if: str = ""
    """Config key that says whether there is one; empty: there is."""
    shared: str = ""
    shared_inner: str = ""
    """Config key of the inner size of the shared expert; empty: ``inner`` times ``shared_count``."""
    shared_count: str = ""
    shared_gate: str = ""


def sparse_block(sparse: Sparse, config: Config, hidden: int) -> tuple[Weight, ...]:
    """Router, routed experts and what every token passes through beside them."""
    count, inner = config.count(sparse.count), config.count(sparse.inner)
    return (
        parts.router(f"{sparse.block}.{sparse.router}", count, hidden, dtype_bytes=sparse.router_bytes),
        *_correction(sparse, config, count),
        *parts.experts(f"{sparse.block}.experts", hidden, inner, count, names=sparse.experts),
        *_shared(sparse, config, hidden, inner),
    )


def _correction(sparse: Sparse, config: Config, count: int) -> tuple[Weight, ...]:
    if not sparse.correction or (sparse.correction_if and not config.flag(sparse.correction_if)):
        return ()
    return (parts.correction(f"{sparse.block}.{sparse.correction}", count),)


def _shared(sparse: Sparse, config: Config, hidden: int, inner: int) -> tuple[Weight, ...]:
    if not sparse.shared:
        return ()
    key = sparse.shared_inner
    size = config.count(key, 0, least=0) if key else inner * config.count(sparse.shared_count, 0, least=0)
    if not size:
        return ()
    name = f"{sparse.block}.{sparse.shared}"
    gate = (parts.router(f"{sparse.block}.{sparse.shared_gate}", 1, hidden),) if sparse.shared_gate else ()
    return (*parts.mlp(name, hidden, size), *gate)
