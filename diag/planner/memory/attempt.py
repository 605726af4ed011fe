"""What is tried? One launch on the tightest GPU: a deployment, a batch, a context, and what was measured of it."""

from __future__ import annotations

import msgspec

from diag.planner.deployment import Deployment
from diag.planner.memory.batch import Batch
from diag.planner.model.architecture import Architecture
from diag.planner.model.drafts import Draft
from diag.planner.rules import EngineRules

HOPPER = (9, 0)


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """The GPU with the least of all that take part. ``total_bytes`` and ``free_bytes`` as the driver reports them."""

    name: str
    total_bytes: int
    free_bytes: int
    """Before the engine starts: what others hold, and the driver itself, is gone."""
    capability: tuple[int, int] | None = None
    """None: not known, or it has none."""
    vendor: str = "nvidia"
    usable_bytes: int | None = None
    """What a runtime library calls total, less than the driver does by what that keeps; None: not known."""

    @property
    def hopper(self) -> bool:
        """AMD numbers MI250X alike."""
        return self.vendor == "nvidia" and self.capability == HOPPER

    @property
    def kernels(self) -> tuple[int, int]:
        """The compute capability by which engines choose among NVIDIA's kernels; others' devices run none of them."""
        return (self.capability or HOPPER) if self.vendor == "nvidia" else (0, 0)

    @property
    def seen_bytes(self) -> int:
        """Of what an engine takes its fraction of total."""
        return self.usable_bytes or self.total_bytes

    @property
    def held_bytes(self) -> int:
        """By others, of what can be had."""
        return max(0, self.seen_bytes - self.free_bytes)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on one rank that stand for the estimate of their term; None: not measured."""

    activation: int | None = None
    non_torch: int | None = None
    graphs: int | None = None
    kv: int | None = None
    context: int | None = None
    """Of a process before its first tensor, without a communicator."""
    communicators: tuple[tuple[int, int], ...] = ()
    """So many ranks in one node -> bytes."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """``utilization`` in the engine's own meaning; None: what it takes by itself.

    ``extra_weight_bytes``: on every rank, beside what the architecture says. ``offloaded_bytes``: of its weights, that
    shall stay in the host's memory. ``loading_bytes``: that a rank holds while it loads, where that is more than
    afterwards (weights quantized by the engine itself).
    """

    architecture: Architecture
    rules: EngineRules
    deployment: Deployment
    batch: Batch
    max_model_len: int
    device: Device
    kv_cache_dtype: str = "auto"
    block_size: int | None = None
    utilization: float | None = None
    measured: Measured = Measured()
    extra_weight_bytes: int = 0
    offloaded_bytes: int = 0
    loading_bytes: int = 0
    draft: Draft | None = None
    """What guesses tokens ahead."""
