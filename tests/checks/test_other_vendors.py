"""Do the checks on GPUs hold for those of other vendors, read from what their tools print?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diag.facts.device import PciDevice
from diag.facts.snapshot import Snapshot
from diag.judge import judge
from diag.units import MIB
from tests.checks.changes import having, item, on
from tests.checks.healthy import gpu_cluster
from tests.probes.recorded import read
from tests.probes.vendors.printed import eight_metax, synthetic

TOPICS = ("devices", "gpus")
INTEGRATED = PciDevice(
    kind="accelerator", vendor="amd", address="0000:c5:00.0", vendor_id="1002", device_id="164e", driver="amdgpu"
)
"""Graphics of a processor."""


def outcomes(cluster: Snapshot, check: str) -> set[tuple[str | None, str]]:
    verdicts = judge(cluster).verdicts
    return {(verdict.node, verdict.outcome) for verdict in verdicts if verdict.check == check}


@pytest.fixture(scope="module")
def metax() -> Snapshot:
    """Two nodes of 8 MetaX GPUs; all else is that of the healthy cluster."""
    topics: dict[str, Any] = {topic: read(topic, **eight_metax()) for topic in TOPICS}
    cluster = gpu_cluster(2)
    return msgspec.structs.replace(
        cluster, nodes=tuple(msgspec.structs.replace(node, **topics) for node in cluster.nodes)
    )


@pytest.mark.parametrize(
    "check",
    [
        "accelerator_has_its_driver",
        "every_gpu_on_the_bus_answers",
        "gpus_are_as_many_as_on_peers",
        "gpu_models_are_the_same_on_all_nodes",
        "mig_mode_is_the_same_on_its_gpus",
        "mig_mode_is_the_same_on_all_nodes",
        "gpu_memory_is_free",
        "gpu_compute_mode_lets_us_in",
        "gpu_is_well_as_its_vendor_says",
    ],
)
def test_a_healthy_node_of_theirs_passes(metax: Snapshot, check: str):
    assert {outcome for _, outcome in outcomes(metax, check)} - {"skipped"} == {"passed"}


def test_no_check_of_gpus_fails_or_breaks_on_them(metax: Snapshot):
    wrong = [verdict for verdict in judge(metax).verdicts if verdict.outcome in ("failed", "broken", "advice")]
    assert wrong == []


def test_one_that_does_not_answer_is_missed(metax: Snapshot):
    lost = on("gpu02", gpus=lambda gpus: gpus[:7])(metax)
    assert outcomes(lost, "every_gpu_on_the_bus_answers") == {("gpu01", "passed"), ("gpu02", "failed")}


def test_one_that_its_tool_calls_unavailable_fails(metax: Snapshot):
    ill = on("gpu02", gpus=item(4, having(health="Unavailable")))(metax)
    assert ("gpu02", "failed") in outcomes(ill, "gpu_is_well_as_its_vendor_says")


def copying(gb_per_s: float, slot: str) -> Snapshot:
    """A node of 8 MetaX GPUs of PCIe 5 in slots of this speed, with copies from and to the host of so many GB/s."""
    answers = eight_metax()
    found = answers["accelerators"]["vendors"][0]
    found["above"] = {address: ({"max_link_speed": slot, "max_link_width": "16"},) for address in found["devices"]}
    slow = item(
        lambda row: row.kind in ("h2d", "d2h") and row.near, having(times_s=(256 * MIB / (gb_per_s * 1e9),) * 3)
    )
    facts: dict[str, Any] = {topic: read(topic, **answers) for topic in TOPICS}
    return on("*", speed=having(bandwidths=slow), **facts)(gpu_cluster(1))


def test_a_card_in_an_older_slot_is_not_accused_of_the_slot():
    check = "pcie_carries_its_width_under_load"
    assert outcomes(copying(25.5, "16.0 GT/s PCIe"), check) == {("gpu01", "passed")}
    assert outcomes(copying(25.5, "32.0 GT/s PCIe"), check) == {("gpu01", "failed")}


def test_a_processors_own_graphics_is_no_gpu_that_fell_off_the_bus():
    beside = on("gpu02", devices=lambda devices: (*devices, INTEGRATED))(gpu_cluster(2))
    assert outcomes(beside, "every_gpu_on_the_bus_answers") == {("gpu01", "passed"), ("gpu02", "passed")}


def test_memory_that_an_idle_npu_keeps_for_itself_is_free():
    answers = eight_metax(table={"status": 0, "stdout": synthetic("ascend/dual.txt"), "stderr": ""})
    answers["accelerators"]["vendors"][0].update(vendor="ascend", tool="npu-smi")
    cluster = on("*", gpus=read("gpus", **answers))(gpu_cluster(1))
    assert {outcome for _, outcome in outcomes(cluster, "gpu_memory_is_free")} == {"passed"}


def test_gpus_of_which_none_answers_are_not_judged_by_the_driver_of_the_first():
    cluster = on("gpu02", gpus=())(gpu_cluster(2))
    assert ("gpu02", "not_measured") in outcomes(cluster, "driver_supports_the_cuda_of_torch")
