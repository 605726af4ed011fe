"""Changes that make the checks of checks/nvlinks.py fail."""

from __future__ import annotations

from tests.checks.changes import having, item, on
from tests.checks.healthy import gpu_cluster
from tests.checks.pair import Pair, two
from tests.checks.pairs.gpu_health import every_gpu, gpu

DOWN = having(active=False)
ALL_DOWN = item(lambda _: True, DOWN)

PAIRS = (
    two("gpus_have_equally_many_nvlinks_up", gpu(links=item(17, DOWN)), "gpu:3: 17 of 18 NVLinks are up"),
    two(
        "gpus_have_equally_many_nvlinks_up",
        gpu(links=item(lambda _: True, DOWN)),
        "gpu:3: 0 of 18 NVLinks are up",
    ),
    two("nvlinks_are_as_many_as_on_peers", every_gpu(links=item(17, DOWN)), "NVLinks up: 17"),
    two(
        "nvlinks_repeat_and_recover_nothing",
        gpu(links=item(2, having(recoveries=3))),
        "gpu:3: 0 replays and 3 recoveries",
    ),
    two("nvswitch_fabric_took_the_gpu_in", gpu(fabric=having(state="in_progress")), "fabric in_progress"),
    two(
        "nvswitch_fabric_took_the_gpu_in",
        gpu(fabric=having(health=("degraded bandwidth",))),
        "completed, success, degraded bandwidth",
    ),
    two("fabric_manager_runs", on("gpu02", gpu_system=having(fabric_manager="failed")), "Fabric Manager failed"),
    two("fabric_manager_runs", on("gpu02", gpu_system=having(fabric_manager=None)), "not installed"),
    Pair(
        check="gpus_have_equally_many_nvlinks_up",
        cluster=lambda: gpu_cluster(2),
        change=on("*", gpus=item(lambda _: True, having(links=ALL_DOWN))),
        named=("gpu01", "gpu02"),
        found="gpu:0: 0 of 18 NVLinks are up; gpu:1",
    ),
    Pair(
        check="gpus_have_equally_many_nvlinks_up",
        cluster=lambda: gpu_cluster(1),
        change=on("*", gpus=item(lambda _: True, having(links=ALL_DOWN, fabric=None))),
        named=("gpu01",),
        found="0 of 18 NVLinks are up",
    ),
    two(
        "gpus_of_a_fabric_use_all_their_nvlinks",
        every_gpu(links=item(17, DOWN)),
        "NVLinks up: gpu:0: 17 of 18",
        also=frozenset({"nvlinks_are_as_many_as_on_peers"}),
    ),
    two(
        "nvlinks_repeat_and_recover_nothing",
        gpu(links=item(2, having(crc_errors=10**12))),
        "gpu:3: 1000000000000 damaged packets on links 2",
    ),
    Pair(
        check="fabric_manager_of_unseen_switches_has_not_failed",
        given=on("*", gpu_system=having(nvswitches=0)),
        change=on("gpu02", gpu_system=having(fabric_manager="failed")),
        named=("gpu02",),
        found="Fabric Manager failed",
    ),
)
