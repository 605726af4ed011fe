"""What is watched on a node while its GPUs are measured? Their heat in a burn; newcomers, where pids can be known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diag.facts.derived import gpu_users, sees_strangers
from diag.facts.device import Gpu
from diag.facts.node import Node
from diag.facts.record import is_known

BELOW_SLOWDOWN_C = 5


def watched(node: Node, gpus: Sequence[Gpu], level: str) -> dict[str, Any] | None:
    """What ``heat.Watch`` is to do; None: nobody can tell."""
    if not all(gpu.vendor == "nvidia" for gpu in gpus):
        return None
    burnt = stop_c(gpus) if level == "burn" else {}
    return {
        "stop_c": burnt,
        "below_c": BELOW_SLOWDOWN_C,
        "newcomers": sees_strangers(node),
        "known": gpu_users(node.gpus),
    }


def stop_c(gpus: Sequence[Gpu]) -> dict[str, int]:
    """UUID -> where a burn stops, of those that say where they slow themselves down."""
    known = [gpu for gpu in gpus if is_known(gpu, "uuid") and is_known(gpu, "slowdown_c")]
    return {gpu.uuid: gpu.slowdown_c - BELOW_SLOWDOWN_C for gpu in known if gpu.slowdown_c is not None}
