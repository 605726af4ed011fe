"""What did the collective measure between nodes, and what follows for parallelism across them?"""

from __future__ import annotations

from diag.facts.collective import Collective
from diag.facts.plan import Discarded, Parameters
from diag.facts.record import NotMeasured
from diag.facts.snapshot import Snapshot
from diag.units import gb_per_s, size


def tensor_parallel_over_nodes(snapshot: Snapshot, gpus: int) -> Discarded:
    """Discarded always: two all-reduces a layer wait for the slowest link."""
    return Discarded(
        parameters=Parameters(tensor_parallel_size=gpus, pipeline_parallel_size=1),
        reason=f"crosses nodes: {between_nodes(snapshot)}",
    )


def between_nodes(snapshot: Snapshot) -> str:
    """``busbw 1.2 GB/s between 4 nodes over bond0 (nccl, 64.0 MiB)``, or why it is not known."""
    try:
        return _told(snapshot.collective)
    except NotMeasured as why:
        return f"busbw between nodes not measured: {why}"


def _told(measured: Collective) -> str:
    steps = [step for step in measured.steps if step.verified]
    if len(measured.nodes) < 2:  # noqa: PLR2004 - a pair
        return "busbw between nodes not measured: the collective ran on one node"
    if not measured.finished or not steps:
        return f"busbw between nodes not measured: {measured.summary or 'the collective did not finish'}"
    best = max(steps, key=lambda step: step.busbw_bytes_per_s)
    where = f" over {measured.interface}" if measured.interface else ""
    figure = f"busbw {gb_per_s(best.busbw_bytes_per_s)} between {len(measured.nodes)} nodes{where}"
    return f"{figure} ({measured.backend}, {size(best.size_bytes)})"
