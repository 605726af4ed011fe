"""What must the planner know of an engine's version? Data, filled in by ``diag/engines/`` and passed to the planner."""

from __future__ import annotations

import msgspec


class BatchRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine takes by itself on a device of at least ``total_bytes``."""

    total_bytes: int
    max_num_batched_tokens: int
    max_num_seqs: int


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A coefficient or a size as seen: at least, probably, at most; ``source`` says by whom and where."""

    low: float
    mid: float
    high: float
    source: str


class EngineRules(msgspec.Struct, frozen=True, kw_only=True):
    """Memory rules of one version. Fractions are of the device's total memory."""

    engine: str
    version: str
    """Whose rules these are."""
    note: str | None = None
    """Why these rules stand in for another version; None: it is the version that was asked for."""
    utilization: float
    """Fraction it takes by itself."""
    block_size: int
    cpu_block_size: int
    batches: tuple[BatchRow, ...]
    """Largest device first."""
    small_batch_names: tuple[str, ...]
    """Devices (part of the name, lower case) that take the last row whatever their memory."""
    cpu_batch: BatchRow
    graphs_inside_budget: bool
    """Whether the KV cache already leaves room for CUDA graphs; if not, they are taken from what lies outside."""
    context: Spread
    """Bytes of a process's own device context: gone before the engine looks at what is free."""
    sampler: Spread
    """Bytes per (sequence × word of the vocabulary) of the largest sampling step."""
    graphs: Spread
    non_torch_alone: Spread
    """What the libraries take beside torch, on one GPU."""
    non_torch_several: Spread
    """The same with communication between GPUs."""
    cpu_process: Spread
    """Resident bytes of the engine's processes on a CPU, without weights and KV cache."""
    spans_nodes: bool
    """Whether one launch command can place a replica over several nodes without Ray."""

    def batch(self, device_name: str, total_bytes: int) -> BatchRow:
        if any(name in device_name.lower() for name in self.small_batch_names):
            return self.batches[-1]
        return next((row for row in self.batches if total_bytes >= row.total_bytes), self.batches[-1])
