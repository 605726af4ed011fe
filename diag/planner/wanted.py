"""What is the plan to be good for, and what did the user settle already?"""

from __future__ import annotations

from typing import Literal

import msgspec

from diag.facts.plan import Parameters
from diag.inventory.gpusets import Part

Goal = Literal["stable", "latency", "throughput", "context"]
GOALS: tuple[Goal, ...] = ("stable", "latency", "throughput", "context")

MODEST_CONTEXTS = (8192, 4096, 2048)
"""Tokens a request, the longest that fits: what a first start aims at. Prompt and answer are usually 0.5 to 2 k."""
SEQS = {"stable": (64, 16), "latency": (64, 16), "context": (16, 4), "throughput": (256, 64, 16)}
"""Requests at once to try, in turn; for throughput what the engine takes by itself comes first."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """``context`` in tokens, ``concurrency`` in requests at once; None: the goal decides.

    ``pinned``: what may not vary. ``excluded``: what the Snapshot that is planned for does not hold any more.
    """

    goal: Goal = "stable"
    context: int | None = None
    concurrency: int | None = None
    pinned: Parameters = Parameters()
    excluded: tuple[Part, ...] = ()

    @property
    def fixed_context(self) -> int | None:
        return self.pinned.max_model_len or self.context

    def too_long(self, most: int | None) -> tuple[str, str] | None:
        """Why a model of ``most`` tokens a request cannot serve the wanted ones, and what to do; None: it can."""
        length = self.fixed_context
        if not length or not most or length <= most:
            return None
        return (
            f"a context of {length:,} tokens: the model itself allows {most:,}",
            f"a context of at most {most:,} tokens",
        )

    @property
    def as_long_as_fits(self) -> bool:
        return self.goal == "context" and self.fixed_context is None

    def contexts(self, most: int) -> tuple[int, ...]:
        """Lengths to aim at, in turn; ``most``: the model's own. Empty: as long as fits."""
        if self.fixed_context is not None:
            return (self.fixed_context,)
        if self.as_long_as_fits:
            return ()
        return tuple(dict.fromkeys(min(most, length) for length in MODEST_CONTEXTS))

    def seqs(self, own: int) -> tuple[int, ...]:
        """Sequences at once to try, in turn; ``own``: what the engine takes by itself."""
        fixed = self.pinned.max_num_seqs or self.concurrency
        if fixed is not None:
            return (fixed,)
        counts = (own, *SEQS[self.goal]) if self.goal == "throughput" else SEQS[self.goal]
        return tuple(dict.fromkeys(min(own, count) for count in counts))
