"""Do the GPUs of a node get from its memory at once what each gets alone?"""

import pytest

from diag.facts.alone import had_for_ourselves
from diag.facts.derived import has_accelerator, loads, past_quick
from diag.facts.node import Node
from diag.facts.record import NotMeasured
from diag.facts.speed import why_lost
from diag.facts.verdict import finding
from diag.units import gb_per_s

AT_ONCE_SHARE = 0.45
"""Of what each carries alone: two behind one PCIe switch have half of its way up, as on many boards."""

loaded = pytest.mark.asked(loads, reason="level passive makes no load")
from_normal = pytest.mark.asked(past_quick, reason="level normal or burn measures it")
on_gpus = pytest.mark.applies(has_accelerator, reason="no accelerator")


def alone_and_at_once(node: Node, kind: str) -> tuple[float, float, int]:
    """Bytes a second of all GPUs measured both ways, from their own NUMA nodes; and how many these are."""
    speed = node.speed
    alone = {row.gpu: row.bytes_per_s for row in speed.bandwidths if row.kind == kind and row.near is not False}
    at_once = {row.gpu: row.bytes_per_s for row in speed.bandwidths if row.kind == f"{kind}_all"}
    gpus = alone.keys() & at_once.keys()
    if len(gpus) < 2:
        raise NotMeasured(why_lost(speed, "all host copies", node.gpus[0].index))
    return sum(alone[gpu] for gpu in gpus), sum(at_once[gpu] for gpu in gpus), len(gpus)


@loaded
@on_gpus
@from_normal
@pytest.mark.optional
@pytest.mark.advice
@pytest.mark.applies(lambda node: len(node.gpus) > 1, reason="one GPU")
@pytest.mark.needs("check_copies_arrive_unchanged")
def check_gpus_share_the_way_to_the_host(node: Node) -> None:
    """All ranks load weights and swap caches at once: behind one switch or host bridge they wait for each other.

    Do: look which GPUs share a switch; spread offloading engines over NUMA nodes, and plan loading times with this.
    $ ssh {node} 'nvidia-smi topo -m; lspci -tv'
    """
    both = {kind: alone_and_at_once(node, kind) for kind in ("h2d", "d2h")}
    had_for_ourselves(*node.gpus)
    less = [
        f"{kind} of {count} GPUs at once {gb_per_s(at_once)}, alone {gb_per_s(alone)} in sum"
        for kind, (alone, at_once, count) in both.items()
        if at_once < AT_ONCE_SHARE * alone
    ]
    assert not less, finding("; ".join(less), f"at least {AT_ONCE_SHARE:.0%} of that")
