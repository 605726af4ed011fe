"""What did the user ask of a run: how much load, of which model, and until when?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from diag.units import MIB

LEVELS = ("passive", "quick", "normal")
DEADLINES_S: Mapping[str, float] = {
    "reach": 10, "facts": 20, "measure": 60, "collectives": 90, "judge": 30, "plan": 10,
}  # fmt: skip
"""Stage -> its limit where the user names no other."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """Bytes and seconds."""

    level: str = "normal"
    model_path: str | None = None
    deadlines_s: Mapping[str, float] = field(default_factory=dict)
    max_size_bytes: int = 64 * MIB

    def deadline_s(self, stage: str) -> float:
        return self.deadlines_s.get(stage, DEADLINES_S[stage])
