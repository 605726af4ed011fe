"""How many bytes of every GPU may the engine take?

u is a fraction of total memory, the same on all ranks; the engine refuses to start unless ceil(total · u) is free then,
after its own device context exists. So u = min(what the engine takes by itself, (free − outside) / total of the
tightest GPU, floored to 0.01); the budget is ceil(total · u) of the smallest.
"""

from __future__ import annotations

import msgspec

from diag.planner.accelerators import Accelerators
from diag.planner.rules import EngineRules
from diag.units import size

STEPS = 100


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """``held_bytes``: what others hold on the tightest GPU; ``lowered``: the engine's own fraction is not free."""

    utilization: float
    bytes: int
    held_bytes: int
    lowered: bool
    source: str


def budget(found: Accelerators, rules: EngineRules) -> Budget:
    tight, small = found.tightest, found.smallest
    outside = int(rules.context.high) + (0 if rules.graphs_inside_budget else int(rules.graphs.high))
    own = round(rules.utilization * STEPS)
    free = max(0, (tight.free_bytes - outside) * STEPS // tight.total_bytes)
    hundredths = min(own, free)
    return Budget(
        utilization=hundredths / STEPS,
        bytes=-(-small.total_bytes * hundredths // STEPS),
        held_bytes=tight.total_bytes - tight.free_bytes,
        lowered=hundredths < own,
        source=f"{tight.told}, tightest of {len(found.devices)}; {size(outside)} kept for {_outside(rules)}",
    )


def _outside(rules: EngineRules) -> str:
    context = "the engine's device context"
    return context if rules.graphs_inside_budget else f"{context} and its CUDA graphs"
