"""What of a node's measurements was lost, and what follows from that?"""

from __future__ import annotations

from collections.abc import Iterable

from diag.facts.device import Gpu
from diag.facts.speed import Lost, Speed

UNDYING = "does not die"
"""How what was killed and stays (D state) is told in a reason."""


def why_no_more(speed: Speed) -> str:
    """What of its measurements speaks against more load on these GPUs; empty: nothing.

    They were ended for others' sake, or a pair of GPUs hung as a collective would, or something of ours still is there.
    """
    if speed.stopped:
        return speed.stopped
    undying = (f"{lost.topic}: {lost.why}" for lost in speed.lost if UNDYING in lost.why)
    hung = (
        f"gpu:{lost.gpus[0]} and gpu:{lost.gpus[-1]} hung: {lost.why}"
        for lost in speed.lost
        if lost.topic == "p2p" and lost.how == "killed"
    )
    return next(undying, "") or next(hung, "")


def hung(speed: Speed, index: int) -> list[Lost]:
    """What that GPU by itself was given and came to no end with, and that was not stopped for others' sake."""
    return [lost for lost in speed.lost if lost.how == "killed" and lost.gpus == (index,)]


def came_through(speed: Speed, what: Lost, gpus: Iterable[Gpu]) -> bool:
    """Whether another GPU of its model came to an end with the same, as far as products tell. Raises NotMeasured."""
    name_of = {gpu.index: gpu.name for gpu in gpus}
    alike = {index for index, name in name_of.items() if index not in what.gpus and name == name_of.get(what.gpus[0])}
    lost = {gpu for each in speed.lost if (each.topic, each.dtype) == (what.topic, what.dtype) for gpu in each.gpus}
    return any(row.gpu in alike - lost and what.dtype in ("", row.dtype) for row in speed.gemms)
