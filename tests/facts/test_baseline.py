"""Is a GPU compared with itself, and with what was verified only?"""

from __future__ import annotations

import msgspec

from diag.facts.baseline import figures, identity, of
from diag.facts.record import Missing
from diag.judge import judge
from tests.checks.changes import having, item, on
from tests.checks.healthy import gpu_cluster
from tests.checks.machines import gpu_node


def test_a_gpu_is_known_by_its_uuid_and_without_one_by_its_place():
    gpu = gpu_node(2).gpus[3]
    assert identity("gpu02", gpu) == gpu.uuid
    assert identity("gpu02", msgspec.structs.replace(gpu, uuid=Missing("not said"))) == "gpu02 gpu:3"


def test_wrong_figures_are_none():
    speed = gpu_node(1).speed
    spoiled = having(gemms=item(lambda row: row.dtype == "bf16", having(verified=False)))(speed)
    assert "gemm bf16" in figures(speed, 0)
    assert "gemm bf16" not in figures(spoiled, 0)


def test_a_cluster_compared_with_itself_is_sound_and_every_gpu_was_looked_at():
    cluster = gpu_cluster()
    again = msgspec.structs.replace(cluster, baseline=of(cluster))
    verdicts = [verdict for verdict in judge(again).verdicts if verdict.check == "gpu_is_as_fast_as_it_was"]
    assert [verdict.outcome for verdict in verdicts] == ["passed"] * 32


def test_when_all_gpus_are_slower_than_before_the_baseline_sees_what_peers_cannot():
    cluster = gpu_cluster()
    late = item(lambda _: True, having(flops_per_s=lambda old: tuple(0.93 * each for each in old)))
    slower = on("*", speed=having(gemms=late))(msgspec.structs.replace(cluster, baseline=of(cluster)))
    failed = {verdict.check for verdict in judge(slower).verdicts if verdict.outcome == "failed"}
    assert failed == {"gpu_is_as_fast_as_it_was"}


def test_what_a_gpu_in_use_reached_is_no_baseline_and_no_peer():
    busy = on("gpu01", gpus=item(3, having(utilisation=0.9)))(gpu_cluster(1))
    mine = identity("gpu01", busy.nodes[0].gpus[3])
    assert mine not in {figure.gpu for figure in of(busy).figures}
    assert len({figure.gpu for figure in of(busy).figures}) == 7
