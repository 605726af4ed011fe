"""How much memory do a rank's weights take once an engine has loaded them on a device?

Tensors in the formats that the engine holds (``held.py``), divided (``shards.py``): exact. What loading allocates
beside them (rotary tables, kernels' workspaces, rounding up to pages) is an estimate.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import msgspec

from diag.planner.deployment import Deployment
from diag.planner.memory.attempt import Device
from diag.planner.memory.batch import Batch
from diag.planner.memory.same import Same
from diag.planner.memory.steps import streams
from diag.planner.model.architecture import Architecture
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.formats.held import Loader, held
from diag.planner.model.shards import rank_weight_bytes
from diag.planner.rules import EngineRules
from diag.units import MIB

Level = Literal["low", "mid", "high"]
FLOAT32 = 4

BESIDE: dict[Level, tuple[float, int]] = {"low": (0, 0), "mid": (0.002, 0), "high": (0.005, 100 * MIB)}
"""A part of the weights, and bytes: what 13 logs print beyond shapes and tables, 0.2 % in the median, in 5 nothing."""


def weights_bytes(architecture: Architecture, rules: EngineRules, device: Device, deployment: Deployment) -> int:
    """Of the fullest rank of the fullest stage."""
    return max(stage_weights_bytes(architecture, rules, device, deployment, stage) for stage in range(deployment.pp))


def stage_weights_bytes(
    architecture: Architecture, rules: EngineRules, device: Device, deployment: Deployment, stage: int
) -> int:
    return _weights(Same(architecture), _loader(rules, device), deployment, stage)


def layer_bytes(
    architecture: Architecture, rules: EngineRules, device: Device, deployment: Deployment, stage: int
) -> int:
    """Of decoder layers: of them alone weights can stay in the host's memory, not of what stands before or behind.

    Sources: vLLM's models/utils.py (make_layers), model_executor/offloader/uva.py; SGLang's utils/offloader.py.
    """
    return _weights(Same(architecture), _loader(rules, device), deployment, stage, layers_only=True)


def stays_in_ram(  # noqa: PLR0917 - of what, and where
    asked: int, architecture: Architecture, rules: EngineRules, device: Device, deployment: Deployment, stage: int
) -> int:
    """Of ``asked`` bytes of the weights that shall stay in the host's memory, what can."""
    return min(asked, layer_bytes(architecture, rules, device, deployment, stage)) if asked else 0


def _loader(rules: EngineRules, device: Device) -> Loader:
    capability = None if device.capability is None else device.capability[0] * 10 + device.capability[1]
    return Loader(engine=rules.kind, version=rules.version, capability=capability, vendor=device.vendor)


def loaded_bytes(weights: int, level: Level) -> int:
    part, more = BESIDE[level]
    return int(weights * (1 + part)) + more


def streams_bytes(architecture: Architecture, rules: EngineRules, batch: Batch, *, last: bool) -> int:
    """Residual streams of a whole batch that wait for a draft, where they do so without one; on the last stage.

    74.08 and 74.35 GiB with 8192 and 16384 tokens in logs of DeepSeek-V4-Flash with TP 2: 32 KiB a token.
    """
    if not rules.keeps_streams or not last or (count := streams(architecture)) == 1:
        return 0
    return batch.max_num_batched_tokens * count * architecture.hidden * DTYPE_BYTES[architecture.dtype]


def rotary_bytes(architecture: Architecture, rules: EngineRules) -> int:
    """Of tables of positions, on every rank: 64 MiB in logs of Qwen3-4B and Qwen3-235B, 32 in those of Llama 3.1."""
    each = {"": 0, "dtype": DTYPE_BYTES[architecture.dtype], "float32": FLOAT32}[rules.rotary]
    return sum(one.positions * one.dim * (one.element_bytes or each) for one in architecture.rotary) if each else 0


def copied_bytes(architecture: Architecture, rules: EngineRules, weights: int, pp: int) -> tuple[int, int]:
    """Of layers that wait in the host's memory, while they run: at least one, at most two of a stage with ``weights``.

    A log of OPT-6.7B, whose layers have 0.39 GiB, takes 0.47 more with 2 GiB of them in the host's memory.
    """
    layer = weights * pp // max(1, len(architecture.layers)) if rules.copies_offloaded else 0
    return layer, 2 * layer


@lru_cache(maxsize=4096)
def _weights(
    architecture: Same[Architecture], loader: Loader, deployment: Deployment, stage: int, *, layers_only: bool = False
) -> int:
    whole = _held(architecture, loader)
    return rank_weight_bytes(
        msgspec.structs.replace(whole, first=(), last=()) if layers_only else whole,
        tp=deployment.tp,
        pp=deployment.pp,
        ep=deployment.expert_parallel_size,
        stage=stage,
        expert_tp=deployment.expert_tp,
    )


@lru_cache(maxsize=16)
def _held(architecture: Same[Architecture], loader: Loader) -> Architecture:
    return held(architecture.value, loader)
