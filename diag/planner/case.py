"""What does a GPU plan follow from?"""

from __future__ import annotations

import msgspec

from diag.facts.snapshot import Snapshot
from diag.planner.accelerators import Accelerators
from diag.planner.candidates import Cluster
from diag.planner.deployment import Deployment
from diag.planner.domains import Domains
from diag.planner.memory.attempt import Device, Measured
from diag.planner.memory.startup import weights_bytes
from diag.planner.memory.weighed import stays_in_ram
from diag.planner.model.architecture import Architecture
from diag.planner.model.checkpoint import Checkpoint
from diag.planner.model.drafts import Draft
from diag.planner.model.models import Model
from diag.planner.rules import BatchRow, EngineRules
from diag.planner.wanted import Wanted
from diag.units import GIB


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """All that a GPU plan follows from. ``device``: total memory of the smallest GPU, free memory of the tightest."""

    snapshot: Snapshot
    found: Accelerators
    cluster: Cluster
    domains: Domains
    model: Model
    architecture: Architecture
    rules: EngineRules
    files: Checkpoint
    device: Device
    wanted: Wanted
    measured: Measured = Measured()
    """On the nodes, by programs of ours."""
    stored: Architecture | None = None
    """As its files have it, where the engine quantizes it while it loads."""
    draft: Draft | None = None
    """What guesses tokens ahead."""
    notes: tuple[str, ...] = ()
    """What the reader should know whatever is chosen: formats that run slower, a dtype that was changed."""

    def own_batch(self, max_model_len: int) -> BatchRow:
        """What the engine takes by itself on these GPUs."""
        return self.rules.batch(self.device.name, self.device.total_bytes, max_model_len=max_model_len)

    @property
    def offloaded_bytes(self) -> int:
        """Of the weights of each GPU, that shall stay in the host's memory."""
        return int((self.wanted.pinned.cpu_offload_gib or 0) * GIB)

    def stays_in_ram(self, deployment: Deployment) -> tuple[int, int]:
        """Of them, what can stay there: on the GPU that keeps the least, and on the one that keeps the most."""
        each = [
            stays_in_ram(self.offloaded_bytes, self.architecture, self.rules, self.device, deployment, stage)
            for stage in range(deployment.pp)
        ]
        return min(each), max(each)

    def loading_bytes(self, deployment: Deployment) -> int:
        """Of the weights of a rank before the engine has quantized them; 0: it does not."""
        return 0 if self.stored is None else weights_bytes(self.stored, self.rules, self.device, deployment)

    def launched(self, deployment: Deployment) -> int:
        """Replicas that one command starts. Those of a dense model stay inside a node."""
        if self.architecture.experts or deployment.nodes > 1:
            return deployment.dp
        inside = max(1, self.cluster.per_node // deployment.gpus)
        return min(inside, self.wanted.pinned.data_parallel_size or inside)

    def commands(self, deployment: Deployment) -> int:
        """How often the command is given: on each node, or on each group of nodes."""
        if deployment.nodes > 1:
            return self.cluster.nodes // deployment.nodes
        return self.cluster.nodes

    def replicas(self, deployment: Deployment) -> int:
        """Copies of the whole model on the cluster."""
        shared = self.architecture.experts or deployment.nodes > 1
        return self.commands(deployment) * (1 if shared else self.launched(deployment))
