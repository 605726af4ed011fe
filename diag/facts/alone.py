"""Is what was measured of a GPU the whole GPU's, or did it share its time and memory with others?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from diag.facts.derived import idle_bytes
from diag.facts.device import Gpu
from diag.facts.node import Node
from diag.facts.record import NotMeasured
from diag.units import size

IDLE_UTILISATION = 0.05


def had_for_ourselves(*gpus: Gpu) -> None:
    """Raises NotMeasured: what a slice or a GPU in use reaches (``--even-if-shared``, ``--even-if-busy``) is no speed.

    Processes are not asked for: some tools tell none, and one that computes or holds much is seen without.
    """
    why = next(_shared(gpus), "")
    if why:
        raise NotMeasured(why)


def whole_gpus(node: Node) -> dict[int, str]:
    """Its GPUs of which nothing says that others used them, or that only a slice was measured: index -> model."""
    return {gpu.index: gpu.name for gpu in node.gpus if not _is_shared(gpu)}


def _is_shared(gpu: Gpu) -> bool:
    try:
        return any(_shared([gpu]))
    except NotMeasured:
        return False


def _shared(gpus: Iterable[Gpu]) -> Iterator[str]:
    for gpu in gpus:
        if gpu.vendor == "nvidia" and gpu.mig:
            yield f"gpu:{gpu.index} is divided (MIG): one slice of it was measured"
        if gpu.used_bytes > idle_bytes(gpu):
            yield f"others use it: {size(gpu.used_bytes)} of gpu:{gpu.index} were taken before"
        if gpu.utilisation > IDLE_UTILISATION:
            yield f"others use it: gpu:{gpu.index} was at {gpu.utilisation:.0%} before"
