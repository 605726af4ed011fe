"""What did the user ask of a run: how much load, of which model, and until when?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from diag.units import MIB

if TYPE_CHECKING:  # `diag run --help` reads the levels from here
    from diag.facts.node import Node

LEVELS = ("passive", "quick", "normal", "burn")
PAIRS = ("ring", "all", "sample", "none")
"""Which pairs of nodes are measured: the collective's neighbours, every pair, some rounds of these, none."""
SHARED = ("mig", "mps", "exclusive")
"""Ways in which a GPU may be shared; one that is so is loaded only where that is named."""
BURN_MINUTES = 10.0
DEADLINES_S: Mapping[str, float] = {
    "reach": 10, "facts": 20, "measure": 60, "speed": 420, "ladder": 240, "links": 90, "collectives": 90, "retry": 45,
    "judge": 30, "plan": 10,
}  # fmt: skip
"""Stage -> its limit where the user names no other."""


@dataclass(frozen=True, kw_only=True)
class EngineEnvironment:
    """``name`` None: no engine; ``variables``: what it sets before its first collective."""

    name: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """Bytes and seconds."""

    level: str = "normal"
    model_path: str | None = None
    deadlines_s: Mapping[str, float] = field(default_factory=dict)
    max_size_bytes: int = 64 * MIB
    pairs: str = "ring"
    max_pairs: int | None = None
    """None: all that ``pairs`` means."""
    minutes: float = 0.0
    """Of a burn."""
    permitted: frozenset[str] = frozenset()
    """What may be loaded all the same: busy, mig, mps, exclusive."""
    environment_of: Callable[[Node], EngineEnvironment] = field(default=lambda _: EngineEnvironment())
    """What the engine to be launched sets for NCCL, by the version that a node has."""

    def deadline_s(self, stage: str) -> float:
        more_s = self.minutes * 60 if stage == "speed" else 0
        return self.deadlines_s.get(stage, DEADLINES_S[stage] + more_s)
