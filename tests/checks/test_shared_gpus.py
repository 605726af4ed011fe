"""Does a GPU that was not ours alone (--even-if-busy, --even-if-shared) pass or fail by its speed?"""

from __future__ import annotations

import pytest

from diag.judge import judge
from tests.checks.changes import Change, both, having, item, on
from tests.checks.healthy import gpu_cluster

SPEEDS = {
    "gpu_is_as_fast_as_its_peers", "gpu_reaches_what_its_model_does", "gpu_memory_is_fast",
    "pcie_carries_its_width_under_load",
}  # fmt: skip
TOGETHER = {"links_between_gpus_are_fast", "all_reduce_in_the_node_is_fast"}
SLOW = on(
    "gpu01",
    speed=having(
        gemms=item(lambda row: row.gpu == 3, having(flops_per_s=lambda old: tuple(each / 7 for each in old))),
        bandwidths=item(lambda row: row.gpu == 3, having(times_s=lambda old: tuple(each * 7 for each in old))),
    ),
)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"mig": True}, "gpu:3 is divided (MIG): one slice of it was measured"),
        ({"utilisation": 0.95}, "others use it: gpu:3 was at 95% before"),
        ({"used_bytes": 40 << 30}, "others use it: 40.0 GiB of gpu:3 were taken before"),
    ],
)
def test_a_gpu_that_is_not_ours_alone_is_neither_slow_nor_fast(fields, why):
    shared: Change = on("gpu01", gpus=item(3, having(**fields)))
    for change in (shared, both(shared, SLOW)):
        verdicts = judge(change(gpu_cluster(1)), keyword="speed or p2p or nccl").verdicts
        of_it = {one.check: one for one in verdicts if one.check in SPEEDS and one.subject == "gpu:3"}
        of_it |= {one.check: one for one in verdicts if one.check in TOGETHER}
        assert of_it.keys() == SPEEDS | TOGETHER
        assert {(one.outcome, one.summary) for one in of_it.values()} == {("not_measured", why)}
        assert "failed" not in {one.outcome for one in verdicts}


def test_its_neighbours_are_judged_all_the_same():
    shared = on("gpu01", gpus=item(3, having(utilisation=0.95)))
    verdicts = judge(shared(gpu_cluster(1)), keyword="speed").verdicts
    assert {one.outcome for one in verdicts if one.check in SPEEDS and one.subject == "gpu:2"} == {"passed"}


def test_what_it_computes_is_judged_all_the_same():
    wrong = on("gpu01", gpus=item(3, having(mig=True)), speed=having(gemms=item(3, having(verified=False))))
    verdicts = judge(wrong(gpu_cluster(1)), keyword="speed").verdicts
    assert [one.check for one in verdicts if one.outcome == "failed"] == ["gpu_computes_right_products"]
