"""What does a GPU plan follow from?"""

from __future__ import annotations

import msgspec

from diag.facts.snapshot import Snapshot
from diag.planner.accelerators import Accelerators
from diag.planner.budget import Budget
from diag.planner.checkpoint import Checkpoint
from diag.planner.layouts import Layout
from diag.planner.models import Model
from diag.planner.rules import BatchRow, EngineRules
from diag.planner.shapes import Shapes


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """All that a GPU plan follows from."""

    snapshot: Snapshot
    found: Accelerators
    model: Model
    shapes: Shapes
    rules: EngineRules
    budget: Budget
    files: Checkpoint
    own: BatchRow
    """What the engine takes by itself on these GPUs."""

    def replicas_per_node(self, layout: Layout) -> int:
        """One for expert models: replicas in one launch would divide the experts among them, which is not planned."""
        return 1 if self.shapes.experts else layout.per_node

    def replicas(self, layout: Layout) -> int:
        return len(self.found.nodes) // layout.nodes * self.replicas_per_node(layout)
