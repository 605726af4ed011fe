"""Why is a speed not judged where there are figures, but none of this kind?"""

from __future__ import annotations

import pytest

from diag.facts.snapshot import Snapshot
from diag.facts.speed import Lost
from diag.judge import judge
from tests.checks.changes import Change, having, item, more, on, without
from tests.checks.healthy import gpu_cluster

CHECK = "pcie_carries_its_width_under_load"
NO_CPU = on("gpu01", speed=having(bandwidths=item(lambda row: row.gpu == 3 and row.kind != "hbm", having(near=False))))
LOST = on(
    "gpu01",
    speed=having(
        bandwidths=without(lambda row: row.gpu == 3 and row.near is True),
        lost=more(Lost(topic="host copies", gpus=(3,), how="killed", why="no end within 11 s")),
    ),
)


def said(cluster: Snapshot) -> dict[str | None, str | None]:
    """GPU -> why it was not judged."""
    verdicts = [one for one in judge(cluster).verdicts if one.check == CHECK and one.node == "gpu01"]
    return {one.subject: one.summary for one in verdicts if one.outcome == "not_measured"}


@pytest.mark.parametrize(
    ("change", "why"),
    [(NO_CPU, "measured from another NUMA node only"), (LOST, "host copies killed: no end within 11 s")],
    ids=["a cpuset on the other socket", "lost"],
)
def test_copies_of_far_memory_alone_say_why_there_are_no_near_ones(change: Change, why: str):
    (reason,) = said(change(gpu_cluster(2))).values()
    assert reason is not None
    assert why in reason


def test_pairs_that_links_do_not_join_are_no_slow_links():
    """Of islands: what goes by the host is compared with what goes by the host."""
    cluster = gpu_cluster(2)
    across = {("gpu:1", f"gpu:{gpu}") for gpu in range(8)} | {(f"gpu:{gpu}", "gpu:1") for gpu in range(8)}
    numbers = {(int(a[-1]), int(b[-1])) for a, b in across}
    for name in ("gpu01", "gpu02"):
        cluster = on(
            name,
            between=item(lambda row: (row.a, row.b) in across, having(path="NODE", links=0)),
            speed=having(p2p=item(lambda row: (row.source, row.target) in numbers, having(times_s=(0.03, 0.03)))),
        )(cluster)
    wrong = [one for one in judge(cluster).verdicts if one.outcome == "failed"]
    assert wrong == []
