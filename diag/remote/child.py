"""What is one process of a node's measurements, and which GPUs does it see?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from diag.facts.device import CUDA, SHOWN_BY, Gpu
from diag.facts.record import is_known, peek


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """One process: what it calls, on which devices, until when. ``topic`` and ``gpus`` are for whoever reads it.

    ``delay_s``: after the round began; ``deadline_s``: after it began itself, its wait for the others not counted.
    """

    id: int
    topic: str
    gpus: tuple[int, ...]
    call: str
    arguments: dict[str, Any] = {}
    devices: tuple[str, ...]
    visible: dict[str, str] = {}
    numbered: tuple[str, ...] = ()
    """The devices where ``visible`` hides nothing from it."""
    uuids: tuple[str, ...] = ()
    deadline_s: float
    delay_s: float = 0.0
    wedge: str = ""


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """``devices``: torch's names of some GPUs where ``visible`` is set; ``numbered``: where all are seen."""

    devices: tuple[str, ...]
    visible: dict[str, str]
    numbered: tuple[str, ...]
    uuids: tuple[str, ...]


def sight(gpus: Sequence[Gpu], seen: Sequence[Gpu]) -> Sight:
    """Of these GPUs alone; where no variable is known to, by their places among the ``seen``: all that the node's own
    environment shows. Torch's order is taken for that of the vendor's tool then.
    """
    uuids = tuple(gpu.uuid for gpu in gpus if gpu.vendor == "nvidia" and is_known(gpu, "uuid"))
    places = [gpu.index for gpu in seen]
    numbered = tuple(f"cuda:{places.index(gpu.index)}" for gpu in gpus)
    visible = {}
    if len(uuids) == len(gpus):
        visible = {CUDA: ",".join(map(_name, gpus))}
    elif all(gpu.vendor == "metax" for gpu in gpus):  # by the numbers of mx-smi
        visible = dict.fromkeys(SHOWN_BY["metax"][0], ",".join(str(gpu.index) for gpu in gpus))
    devices = tuple(f"cuda:{place}" for place in range(len(gpus))) if visible else numbered
    return Sight(devices=devices, visible=visible, numbered=numbered, uuids=uuids)


def _name(gpu: Gpu) -> str:
    """By which the driver finds it; of a divided GPU the first slice."""
    slices = gpu.mig_instances if peek(gpu, "mig") is True and is_known(gpu, "mig_instances") else ()
    return slices[0].uuid if slices else gpu.uuid
