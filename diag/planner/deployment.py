"""Over which ranks does one launch command spread a model?"""

from __future__ import annotations

import msgspec

from diag.planner.memory.steps import Ranks


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """``tp`` ranks divide each layer's attention, ``pp`` stages the layers.

    ``dp``: replicas of the attention that share one set of experts (1 for dense models, whose replicas are launches of
    their own). ``ep``: the tp × dp ranks of a stage get whole experts; if not, each expert is divided over them.
    ``dcp`` of the ``tp`` ranks divide the tokens of a request between them. ``nodes``: of one such deployment.
    """

    tp: int
    pp: int = 1
    dp: int = 1
    ep: bool = False
    dcp: int = 1
    nodes: int = 1

    @property
    def gpus(self) -> int:
        return self.tp * self.pp * self.dp

    @property
    def told(self) -> str:
        """``TP 8 × PP 2``, ``TP 1 × DP 16 with EP``."""
        sizes = (("DCP", self.dcp), ("PP", self.pp), ("DP", self.dp))
        parts = [f"TP {self.tp}", *(f"{word} {n}" for word, n in sizes if n > 1)]
        return " × ".join(parts) + (" with EP" if self.ep else "")

    @property
    def expert_parallel_size(self) -> int:
        return self.tp * self.dp if self.ep else 1

    @property
    def expert_tp(self) -> int:
        """Ranks that divide one expert."""
        return 1 if self.ep else self.tp * self.dp

    def ranks(self, stage: int) -> Ranks:
        """A rank of pipeline stage ``stage``."""
        return Ranks(
            tp=self.tp,
            pp=self.pp,
            stage=stage,
            ep=self.expert_parallel_size,
            dp=self.dp,
            expert_tp=self.expert_tp,
        )
