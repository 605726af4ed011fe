"""Which fraction of memory does SGLang take by itself? What it keeps for activations and CUDA graphs is a formula.

fraction = (M − reserve) / M, rounded to three digits, M the device's total in MiB as the driver reports it
(server_args.py; arg_groups/memory_hook.py from 0.5.19 on). The reserve, in MiB:
 - 0.4.6 and 0.4.7: a fraction by the number of ranks up to 81920 MiB, above it a cap and what is kept at least;
 - 0.4.8 to 0.5.2: a step by M plus a share of each rank;
 - from 0.5.3: 512 + 1.5 · tokens of a prefill chunk + 2 · largest decode graph + 128 a rank, at least 10 GiB on devices
   above 60 GiB; with data-parallel attention 3 (from 300 on 4.5) · that graph for each of its ranks; prefill graphs
   8 each, or 1536 with MLA;
 - where the KV cache is sized after the graphs are captured, only a floor and the ranks' share.
"""

from __future__ import annotations

import bisect

import msgspec

from diag.units import MIB

DEVICE_IS_LARGE_MIB = 60 * 1024
LARGE_DEVICE_MIB = 10 * 1024
FEWEST_TOKENS = 2048
MANY_GRAPHS = 300
MLA_PREFILL_MIB = 1536
VISION_BESIDE_MIB = 8 * 1024
"""Kept for a vision tower where the KV cache is sized after capture."""
BASE_TOWER = 24 * 1024**2
"""Layers × hidden² of the tower (ViT-L/14) that costs 5 % of the fraction."""


class ReserveStep(msgspec.Struct, frozen=True, kw_only=True):
    """Devices of less than ``below_mib`` keep ``base_mib`` and ``rank_mib`` for each rank."""

    below_mib: float
    base_mib: float
    rank_mib: float


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What the reserve depends on. ``attention_dp`` 0: attention is not data-parallel; ``tower``: layers × hidden² of a
    vision tower, 0: none.
    """

    total_bytes: int
    ranks: int
    batched_tokens: int
    graph_batch: int
    attention_dp: int = 0
    mla: bool = False
    divides_tokens: bool = False
    tower: int = 0


class Reserve(msgspec.Struct, frozen=True, kw_only=True):
    """Of one version: the first of its three parts that is not empty holds."""

    by_ranks: tuple[tuple[int, float], ...] = ()
    """(at least so many ranks, fraction), most first."""
    large: tuple[tuple[float, float, float], ...] = ()
    """(above so many MiB, kept MiB, fraction at most), largest first: where the number of ranks does not count."""
    steps: tuple[ReserveStep, ...] = ()
    attention_dp_mib: float = 0
    """Beside a step, with data-parallel attention."""
    prefill_graphs: bool = False
    after_capture_mib: float = 0
    """Floor where the KV cache is sized after capture: all but MLA and ranks that divide tokens; 0: it never is."""
    tower_factor: float = 0
    """Of the fraction where there is a vision tower; 0: by the tower's size."""

    def after_capture(self, demand: Demand) -> bool:
        return bool(self.after_capture_mib) and not demand.mla and not demand.divides_tokens

    def fraction(self, demand: Demand) -> float:
        total = demand.total_bytes / MIB
        if self.by_ranks:
            fraction = self._by_ranks(demand.ranks, total)
        else:
            fraction = round((total - self._kept_mib(demand, total)) / total, 3)
        return self._beside_tower(fraction, demand, total) if demand.tower else fraction

    def _by_ranks(self, ranks: int, total_mib: float) -> float:
        for above, kept, most in self.large:
            if total_mib > above:
                return min(most, (total_mib - kept) / total_mib)
        return next(fraction for least, fraction in self.by_ranks if ranks >= least)

    def _kept_mib(self, demand: Demand, total_mib: float) -> float:
        if self.steps:
            step = self.steps[bisect.bisect_right([step.below_mib for step in self.steps], total_mib)]
            beside = self.attention_dp_mib if demand.attention_dp else 0
            return step.base_mib + step.rank_mib * demand.ranks + beside
        if self.after_capture(demand):
            return self.after_capture_mib + 128 * demand.ranks
        kept = 512 + 1.5 * max(demand.batched_tokens, FEWEST_TOKENS) + 128 * demand.ranks + self._graphs_mib(demand)
        return max(kept, LARGE_DEVICE_MIB) if total_mib > DEVICE_IS_LARGE_MIB else kept

    def _graphs_mib(self, demand: Demand) -> float:
        per_rank = 3 + (1.5 if demand.graph_batch > MANY_GRAPHS else 0)
        kept = demand.graph_batch * (2 + per_rank * demand.attention_dp)
        if not self.prefill_graphs:
            return kept
        return kept + (MLA_PREFILL_MIB if demand.mla else 8 * prefill_sizes(demand.batched_tokens))

    def _beside_tower(self, fraction: float, demand: Demand, total_mib: float) -> float:
        if self.tower_factor:
            return fraction * self.tower_factor
        if self.after_capture(demand):
            return fraction - VISION_BESIDE_MIB / total_mib
        return fraction * 0.95 * min(1.05, max(0.8, 1.0 - 0.1 * (demand.tower / BASE_TOWER - 1.0)))


def prefill_sizes(largest: int) -> int:
    """How many sizes of a prefill are captured: up to 32 every 4th, to 256 every 16th, to 512 every 32nd, …"""
    ranges = ((4, 33, 4), (48, 257, 16), (288, 513, 32), (576, 1025, 64), (1280, 4097, 256), (4608, largest + 1, 512))
    return sum(size <= largest for first, end, step in ranges for size in range(first, end, step))
