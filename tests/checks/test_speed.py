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


def outcomes(cluster: Snapshot, check: str) -> set[str]:
    return {one.outcome for one in judge(cluster).verdicts if one.check == check}


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


def test_four_gpus_that_share_their_links_out_are_no_slow_ones():
    """A board of four without NVSwitch: six of eighteen links for each pair, and a third of the rate."""
    third = on(
        "*",
        between=item(lambda row: row.path == "link", having(links=6)),
        speed=having(p2p=item(lambda _: True, having(times_s=lambda old: tuple(3 * each for each in old)))),
    )
    assert outcomes(third(gpu_cluster(2)), "links_between_gpus_are_fast") == {"passed"}
    slower = on("*", speed=having(p2p=item(lambda _: True, having(times_s=lambda old: tuple(2 * t for t in old)))))
    assert outcomes(slower(third(gpu_cluster(2))), "links_between_gpus_are_fast") == {"failed"}


def test_without_the_number_of_links_a_pair_is_not_judged_by_what_others_published():
    unseen = on("*", between=without(lambda row: row.path == "link"))
    assert outcomes(unseen(gpu_cluster(2)), "links_between_gpus_are_fast") == {"not_measured"}


HUNG = "gpu_hangs_in_nothing_that_others_finish"


def hangs(*gpus: int) -> Change:
    lost = tuple(Lost(topic="hbm", gpus=(gpu,), how="killed", why="no end within 11 s") for gpu in gpus)
    return on("gpu01", speed=having(lost=more(*lost)))


def test_a_gpu_that_hangs_alone_is_named_and_of_all_that_hang_none():
    verdicts = [one for one in judge(hangs(3)(gpu_cluster(1))).verdicts if one.check == HUNG]
    assert [one.subject for one in verdicts if one.outcome == "failed"] == ["gpu:3"]
    assert outcomes(hangs(*range(8))(gpu_cluster(1)), HUNG) == {"not_measured"}


def test_a_gpu_that_hangs_beside_others_work_is_not_accused():
    busy = on("gpu01", gpus=item(3, having(utilisation=0.9)))
    assert "failed" not in outcomes(busy(hangs(3)(gpu_cluster(1))), HUNG)


def test_a_card_of_another_model_that_hangs_is_held_against_no_others():
    display = on("gpu01", gpus=item(3, having(name="NVIDIA T400")))
    assert outcomes(display(hangs(3)(gpu_cluster(1))), HUNG) == {"passed", "not_measured"}


def test_products_of_a_dtype_that_no_other_computes_are_held_against_nobody():
    lost = Lost(topic="gemm", dtype="fp8", gpus=(3,), how="killed", why="no end within 14 s")
    alone = on("gpu01", speed=having(lost=more(lost), gemms=without(lambda row: row.dtype == "fp8")))
    assert "failed" not in outcomes(alone(gpu_cluster(1)), HUNG)
    others_do = on(
        "gpu01", speed=having(lost=more(lost), gemms=without(lambda row: (row.gpu, row.dtype) == (3, "fp8")))
    )
    assert "failed" in outcomes(others_do(gpu_cluster(1)), HUNG)


def test_clocks_of_a_driver_that_tells_no_reasons_are_not_called_free():
    silent = on("gpu01", speed=having(loads=item(lambda _: True, having(told=0, slowed_by=()))))
    assert outcomes(silent(gpu_cluster(1)), "gpu_is_not_slowed_down_under_load") == {"not_measured"}
    mute = on("gpu01", gpus=item(lambda _: True, having(throttled_by=None)))
    assert outcomes(mute(gpu_cluster(1)), "gpus_are_not_slowed_down_by_their_driver") == {"skipped"}


def test_a_pair_is_judged_though_another_gpu_of_the_node_was_in_use():
    busy = on("gpu01", gpus=item(7, having(utilisation=0.06)))
    slow = item(lambda row: (row.source, row.target) == (0, 1), having(times_s=lambda old: tuple(3 * t for t in old)))
    assert outcomes(on("gpu01", speed=having(p2p=slow))(busy(gpu_cluster(1))), "links_between_gpus_are_fast") == {
        "failed"
    }


def test_the_only_gpu_of_a_partition_needs_no_link():
    down = having(links=item(lambda _: True, having(active=False)))
    alone = on("gpu01", gpus=lambda gpus: (down(gpus[0]),))
    assert "failed" not in outcomes(alone(gpu_cluster(1)), "gpus_have_equally_many_nvlinks_up")


def late(*gpus: int) -> Change:
    slow = item(lambda row: row.gpu in gpus and row.dtype == "bf16", having(flops_per_s=(490e12,) * 4))
    return on("gpu01", speed=having(gemms=slow))


def test_a_gpu_that_is_slow_because_heat_cuts_its_clocks_fails_once_and_hides_no_other():
    hot = having(sm_mhz=1305, temperature_c=91, slowed_by=(("hw_thermal_slowdown", 6),))
    cut = on("gpu01", speed=having(loads=item(lambda row: (row.gpu, row.during) == (3, "gemm bf16"), hot)))
    judged = judge(cut(late(3)(gpu_cluster(2))))
    failed = [(one.check, one.subject) for one in judged.verdicts if one.outcome == "failed"]
    assert failed == [("gpu_is_not_slowed_down_under_load", "gpu:3")]
    assert [culprit.cause for culprit in judged.culprits] == ["gpu_throttled"]
    (why,) = {one.summary for one in judged.verdicts if one.check == "gpu_is_as_fast_as_its_peers" and one.summary}
    assert why.endswith("below: its clocks were cut by hw_thermal_slowdown")
    causes = {culprit.cause: culprit.summary for culprit in judge(cut(late(3, 5)(gpu_cluster(2)))).culprits}
    assert causes.keys() == {"gpu_throttled", "gpu_slow"}
    assert "gpu:5" in causes["gpu_slow"]
    assert {culprit.cause for culprit in judge(late(3)(gpu_cluster(2))).culprits} == {"gpu_slow"}
