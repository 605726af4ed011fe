"""Changes that make the checks of checks/gpu_links.py fail."""

from __future__ import annotations

from diag.facts.device import Between
from tests.checks.changes import Change, having, item, on
from tests.checks.pair import two
from tests.checks.pairs.gpu_health import gpu


def pair(**fields: object) -> Change:
    """Of GPUs 0 and 1 of the second node."""
    return on("gpu02", between=item(0, having(**fields)))


def of_two_islands(row: Between) -> bool:
    """A pair of GPUs of which one has an even number, the other an odd one."""
    ends = [row.a.partition("gpu:"), row.b.partition("gpu:")]
    return all(end[1] for end in ends) and sum(int(end[2]) for end in ends) % 2 == 1


PAIRS = (
    two("gpu_slot_has_all_its_lanes", gpu(pcie=having(width=8, width_max=8)), "x8 at most"),
    two("gpu_slots_are_of_their_generation", gpu(pcie=having(generation_max=4)), "gpu:3: PCIe 4 at most"),
    two("gpus_use_all_their_lanes_now", gpu(pcie=having(width=4)), "gpu:3: x4 now"),
    two("gpus_seldom_repeat_packets", gpu(pcie=having(replays=9_000_000)), "gpu:3: 9000000 PCIe packets"),
    two(
        "gpus_that_links_join_follow_each_other",
        on("gpu02", between=item(of_two_islands, having(path="NODE", links=0))),
        "links join 4 GPUs each, not neighbours in number",
    ),
    two("linked_gpus_reach_each_other", pair(p2p="chipset not supported"), "gpu:0 and gpu:1: chipset"),
)
