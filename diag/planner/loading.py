"""How long will the weights take to load, from the read speed measured on the nodes?"""

from __future__ import annotations

from collections.abc import Sequence

from diag.facts.model import ReadSpeed
from diag.facts.node import Node
from diag.facts.record import NotMeasured
from diag.planner.model.models import Model
from diag.units import gb_per_s


def load_seconds(model: Model, nodes: Sequence[Node], total_bytes: int) -> tuple[float | None, str]:
    """Seconds until the slowest node has read all weights once, with its source; None: not measured, and why.

    A file system shared by the nodes gives at most what ``readers`` of them got together; the page cache is cold.
    """
    if model.files is None:
        return None, "not measured: the model's files were not seen on a node"
    slowest: tuple[float, str] | None = None
    for node in nodes:
        try:
            speed = node.read_speed
        except NotMeasured as why:
            return None, f"not measured on {node.name}: {why}"
        took = _seconds(speed, total_bytes, len(nodes)), _told(node, speed, len(nodes))
        slowest = max(slowest, took) if slowest else took
    return slowest or (None, "not measured: no node")


def _seconds(speed: ReadSpeed, total_bytes: int, nodes: int) -> float:
    together = max(1.0, nodes / speed.readers) if speed.readers > 1 else 1.0
    return round(total_bytes / speed.bytes_per_s * together, 1)


def _told(node: Node, speed: ReadSpeed, nodes: int) -> str:
    shared = f", {speed.readers} nodes reading at once, {nodes} to load" if speed.readers > 1 else ""
    cached = "" if speed.direct else ", through the page cache"
    return f"{node.name} reads {speed.path} at {gb_per_s(speed.bytes_per_s)}{shared}{cached} (slowest)"
