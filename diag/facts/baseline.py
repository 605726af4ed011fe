"""What did each GPU reach in an earlier run? The third referee, and the only one for a device nobody published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diag.facts.alone import whole_gpus
from diag.facts.rates import measured
from diag.facts.record import Record, is_known, peek

if TYPE_CHECKING:
    from diag.facts.device import Gpu
    from diag.facts.snapshot import Snapshot
    from diag.facts.speed import Speed


class Figure(Record, frozen=True, kw_only=True):
    """``gpu``: its UUID, or node and index where the driver gives none; ``what``: ``gemm bf16``, ``hbm``, ``h2d``."""

    gpu: str
    what: str
    value: float


class Baseline(Record, frozen=True, kw_only=True):
    """The verified figures of a run, of GPUs that nobody else used."""

    run_id: str
    taken_at: str
    figures: tuple[Figure, ...] = ()


def identity(node: str, gpu: Gpu) -> str:
    uuid = peek(gpu, "uuid")
    return uuid if isinstance(uuid, str) else f"{node} gpu:{gpu.index}"


def figures(speed: Speed, index: int) -> dict[str, float]:
    """Of one GPU: what was verified, host copies with the memory of its own NUMA node."""
    found: dict[str, float] = {}
    for gemm in speed.gemms if is_known(speed, "gemms") else ():
        if gemm.gpu == index and gemm.verified:
            found[f"gemm {gemm.dtype}"] = gemm.sustained_flops_per_s
    for copy in speed.bandwidths if is_known(speed, "bandwidths") else ():
        if copy.gpu == index and copy.verified and copy.near is not False:
            found[copy.kind] = copy.bytes_per_s
    return found


def of(cluster: Snapshot) -> Baseline:
    return Baseline(
        run_id=cluster.run_id,
        taken_at=cluster.taken_at,
        figures=tuple(
            Figure(gpu=identity(node.name, gpu), what=what, value=value)
            for node in measured(cluster.nodes)
            for gpu in node.gpus
            if gpu.index in whole_gpus(node)
            for what, value in figures(node.speed, gpu.index).items()
        ),
    )
