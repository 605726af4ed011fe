"""Which of an engine's backends is planned: the one it starts by itself, or another that takes what that one does not?

LMDeploy starts TurboMind where its table of models names the class (lmdeploy/archs.py, autoget_backend), whatever the
weights' format or the GPU; so the recipe names the backend, and it may be the other one.
"""

from __future__ import annotations

import msgspec

from diag.errors import DiagError
from diag.facts.plan import Parameters
from diag.planner.memory.attempt import Device
from diag.planner.model.architecture import Architecture, AttentionCache, LatentCache
from diag.planner.rules import EngineRules
from diag.planner.running import UNDESCRIBED, running
from diag.planner.served import served

VENDORS = ("nvidia", UNDESCRIBED)
"""Whose GPUs TurboMind runs on: its kernels are CUDA's."""
PINNED = "as you set it"


class OtherEngineError(DiagError):
    """What was set is known to other engines."""


def backed(rules: EngineRules, architecture: Architecture, device: Device, pinned: Parameters) -> EngineRules:
    """``rules`` as they are where the engine has one backend. ``pinned`` names one of those that there are."""
    other = rules.other
    if pinned.backend is not None:
        return named(pinned.backend, rules)
    if other is None:
        return rules
    if (why := _why_not(rules, other, architecture, device, pinned)) is not None:
        return msgspec.structs.replace(rules, backend_why=why)
    told = f"what {rules.engine} {rules.version} starts by itself for {architecture.name}"
    return msgspec.structs.replace(other, backend_why=told, note=rules.note)


def named(name: str, rules: EngineRules) -> EngineRules:
    """Raises DiagError where it is none of the engine's."""
    known = [one for one in (rules, rules.other) if one is not None and one.backend]
    for one in known:
        if one.backend == name.lower():
            return msgspec.structs.replace(one, backend_why=PINNED, note=rules.note)
    if not known:
        what = f"backend={name}: {rules.engine} has no backends to choose from"
        raise OtherEngineError("--set", what, do="leave it out; of the engines only lmdeploy has some")
    names = " or ".join(one.backend for one in known)
    raise DiagError("--set", f"backend={name}: found no such backend of {rules.engine}, expected {names}")


def _why_not(
    rules: EngineRules, other: EngineRules, architecture: Architecture, device: Device, pinned: Parameters
) -> str | None:
    """Why the one with the longer list of models is planned instead."""
    if device.vendor not in VENDORS:
        return f"{other.backend} runs on NVIDIA's GPUs only"
    if served(other.kind, rules.version, architecture.name).kind != "yes":
        return f"{rules.engine} {rules.version} starts no {other.backend} for {architecture.name}"
    if (why := _unasked(other, architecture, pinned) or _unread(other, architecture)) is not None:
        return why
    cache = pinned.kv_cache_dtype or "auto"
    refused = running(architecture, other, device, cache, pinned.dtype).refused
    if refused is not None and running(architecture, rules, device, cache, pinned.dtype).refused is None:
        return refused
    return None


def _unasked(other: EngineRules, architecture: Architecture, pinned: Parameters) -> str | None:
    """What diag plans of the engine with its other backend only."""
    if pinned.expert_parallel or (architecture.experts and (pinned.data_parallel_size or 1) > 1):
        return f"shared and whole experts are not planned with {other.backend}"
    return f"{other.backend} guesses no tokens ahead" if pinned.speculative_method else None


def _unread(other: EngineRules, architecture: Architecture) -> str | None:
    """Shapes that its kernels do not have, and weights that it cannot fold."""
    shapes = other.turbomind
    if shapes is None:
        return None
    caches = {cache for layer in architecture.layers for cache in layer.caches}
    whole = [cache for cache in caches if isinstance(cache, AttentionCache)]
    if odd := sorted({cache.head_dim for cache in whole} - set(shapes.head_dims)):
        return f"{other.backend} has no attention for heads of {odd[0]} elements"
    if any(cache.window or cache.chunk for cache in whole) and architecture.name not in shapes.windows_of:
        return f"{other.backend} heeds no windows of {architecture.name}"
    if (
        any(isinstance(cache, LatentCache) for cache in caches)
        and not shapes.latent_heads
        and _is_quantized(architecture)
    ):
        return f"{other.backend} folds the weights of latent attention in 16 bit only"
    return None


def _is_quantized(architecture: Architecture) -> bool:
    """Its latent attention."""
    kinds = {id(layer.weights): layer.weights for layer in architecture.layers}.values()
    return any(one.format for weights in kinds for one in weights if one.name.endswith("kv_b_proj"))
