"""How much memory do a rank's weights take once an engine has loaded them on a device?

Tensors in the formats that the engine holds (``held.py``), divided (``shards.py``): exact. What loading allocates
beside them (rotary tables, kernels' workspaces, rounding up to pages) is an estimate.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from diag.planner.deployment import Deployment
from diag.planner.memory.attempt import Device
from diag.planner.memory.same import Same
from diag.planner.model.architecture import Architecture, CompressedCache
from diag.planner.model.formats.held import Loader, held
from diag.planner.model.shards import rank_weight_bytes
from diag.planner.rules import EngineRules
from diag.units import MIB

Level = Literal["low", "mid", "high"]

BESIDE: dict[Level, tuple[float, int]] = {"low": (0, 0), "mid": (0.003, 0), "high": (0.005, 100 * MIB)}
"""A part of the weights, and bytes: what 20 logs print beyond their shapes' bytes, 0.3 % in the median."""

COMPRESSED: dict[Level, tuple[float, int]] = {"low": (0, 0), "mid": (0.05, 0), "high": (0.11, 100 * MIB)}
"""The same of compressed layers: 80.8 GiB a GPU in a log, where the shapes have 73.3; not understood."""


def weights_bytes(architecture: Architecture, rules: EngineRules, device: Device, deployment: Deployment) -> int:
    """Of the fullest rank of the fullest stage."""
    return max(stage_weights_bytes(architecture, rules, device, deployment, stage) for stage in range(deployment.pp))


def stage_weights_bytes(
    architecture: Architecture, rules: EngineRules, device: Device, deployment: Deployment, stage: int
) -> int:
    capability = None if device.capability is None else device.capability[0] * 10 + device.capability[1]
    loader = Loader(engine=rules.kind, version=rules.version, capability=capability, vendor=device.vendor)
    return _weights(Same(architecture), loader, deployment, stage)


def loaded_bytes(architecture: Architecture, weights: int, level: Level) -> int:
    part, more = (COMPRESSED if _is_compressed(Same(architecture)) else BESIDE)[level]
    return int(weights * (1 + part)) + more


@lru_cache(maxsize=16)
def _is_compressed(architecture: Same[Architecture]) -> bool:
    caches = (cache for layer in architecture.value.layers for cache in layer.caches)
    return any(isinstance(cache, CompressedCache) for cache in caches)


@lru_cache(maxsize=4096)
def _weights(architecture: Same[Architecture], loader: Loader, deployment: Deployment, stage: int) -> int:
    return rank_weight_bytes(
        _held(architecture, loader),
        tp=deployment.tp,
        pp=deployment.pp,
        ep=deployment.expert_parallel_size,
        stage=stage,
        expert_tp=deployment.expert_tp,
    )


@lru_cache(maxsize=16)
def _held(architecture: Same[Architecture], loader: Loader) -> Architecture:
    return held(architecture.value, loader)
