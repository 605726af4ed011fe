"""Which rails of two nodes can be measured at once, and which GPU is near an RDMA device?"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from diag.facts.device import Gpu
from diag.facts.node import Node
from diag.facts.rails import End, Rail
from diag.facts.record import is_known

PATHS = ("PIX", "PXB", "PHB")
"""Between a GPU and an HCA, the nearest first; NCCL takes no other for GPUDirect."""


class Place(msgspec.Struct, frozen=True):
    """One end of a rail, on its node."""

    node: Node
    end: End


def waves(
    found: Sequence[Rail], pair: tuple[Node, Node], number: int, at_once: int, *, on_gpu: bool = False
) -> list[list[Rail]]:
    """Rails that share no card, and with ``on_gpu`` no GPU, on either node go at once.

    Each round (``number``) begins with another half of them, since the time may end before the last.
    """
    start = (number - 1) * (len(found) // 2) % max(1, len(found))
    made: list[list[Rail]] = []
    for rail in (*found[start:], *found[:start]):
        free = (
            wave
            for wave in made
            if len(wave) < at_once and not any(_share(rail, other, pair, on_gpu=on_gpu) for other in wave)
        )
        wave = next(free, None)
        if wave is None:
            made.append([rail])
        else:
            wave.append(rail)
    return made


def _share(one: Rail, other: Rail, pair: tuple[Node, Node], *, on_gpu: bool) -> bool:
    """What is on no bus is the CPU's: one at a time."""
    for node, mine, yours in zip(pair, (one.one, one.other), (other.one, other.other), strict=True):
        if _card(mine) == _card(yours) or (on_gpu and gpu_near(Place(node, mine)) == gpu_near(Place(node, yours))):
            return True
    return False


def _card(end: End) -> str:
    return (end.hca.pci_address or "").rpartition(".")[0]


def gpu_near(place: Place) -> Gpu | None:
    """The nearest GPU to an HCA; None: none is near, or which is is not known."""
    node = place.node
    if not is_known(node, "between") or not is_known(node, "gpus"):
        return None
    near = [
        (PATHS.index(pair.path), int(pair.a.partition(":")[2]))
        for pair in node.between
        if pair.b == place.end.hca.name and pair.path in PATHS and pair.a.startswith("gpu:")
    ]
    return next((gpu for gpu in node.gpus if near and gpu.index == min(near)[1]), None)


def why_not_on_gpu(place: Place) -> str:
    """Why perftest cannot take a GPU's memory there; empty: it can."""
    return "" if gpu_near(place) is not None else f"no GPU is near {place.end.name} of {place.node.name}"
