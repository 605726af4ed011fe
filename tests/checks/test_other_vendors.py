"""Do the checks on GPUs hold for those of other vendors, read from what their tools print?"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diag.facts.device import UNSAID, PciDevice, Retired
from diag.facts.record import Missing
from diag.facts.snapshot import Snapshot
from diag.facts.software import Setting
from diag.judge import judge
from diag.units import MIB
from tests.checks.changes import Change, both, having, item, on, without
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


SOUND = Retired(kind="pages", corrected=UNSAID, uncorrected=0, pending=False, failed=False)
"""As amd-smi tells it."""


def of_amd(**changed: Any) -> Snapshot:
    """The second of two nodes with 8 GPUs of AMD has one of which its tool says this."""
    own = {"vendor": "amd", "retired": SOUND, "throttled_by": (), "temperature_c": 43, "slowdown_c": 100}
    theirs = having(gpus=item(lambda _: True, having(**own)), devices=item(lambda _: True, having(vendor="amd")))
    nodes = tuple(map(theirs, gpu_cluster(2).nodes))
    return on("gpu02", gpus=item(4, having(**changed)))(msgspec.structs.replace(gpu_cluster(2), nodes=nodes))


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        ("no_memory_waits_to_be_taken_out_of_use", {"retired": having(pending=True)}),
        ("faulty_memory_could_be_taken_out_of_use", {"retired": having(failed=True)}),
        ("gpu_is_not_slowed_down_by_its_board", {"throttled_by": ("hw_thermal_slowdown",)}),
        ("gpu_is_cooler_than_where_it_slows_down", {"temperature_c": 104}),
    ],
)
def test_a_fault_that_their_tool_tells_is_judged_as_one_of_nvidia(check: str, fault: dict[str, Any]):
    assert outcomes(of_amd(**fault), check) == {("gpu01", "passed"), ("gpu02", "passed"), ("gpu02", "failed")}


@pytest.mark.parametrize(
    ("check", "unsaid"),
    [
        ("no_memory_waits_to_be_taken_out_of_use", {"retired": UNSAID}),
        ("no_memory_waits_to_be_taken_out_of_use", {"retired": having(pending=UNSAID)}),
        ("faulty_memory_could_be_taken_out_of_use", {"retired": having(failed=None)}),
        ("gpu_is_not_slowed_down_by_its_board", {"throttled_by": UNSAID}),
        ("gpu_is_cooler_than_where_it_slows_down", {"slowdown_c": UNSAID}),
    ],
)
def test_what_their_tool_never_says_is_neither_health_nor_a_gap(check: str, unsaid: dict[str, Any]):
    assert outcomes(of_amd(**unsaid), check) == {("gpu01", "passed"), ("gpu02", "passed"), ("gpu02", "skipped")}


def test_what_their_tool_could_have_said_is_not_measured():
    lost = of_amd(retired=Missing("amd-smi (bad pages) ended with status 2"))
    assert ("gpu02", "not_measured") in outcomes(lost, "no_memory_waits_to_be_taken_out_of_use")


@pytest.mark.parametrize("vendor", ["amd", "hygon", "metax", "ascend"])
def test_a_device_file_of_theirs_that_is_closed_to_us_fails(vendor: str):
    closed = ("/dev/kfd: permission denied (group render, gid 109; this user's: 1000)",)
    theirs = {name: item(lambda _: True, having(vendor=vendor)) for name in TOPICS}
    cluster = on("gpu02", gpu_system=having(files=closed))(on("*", **theirs)(gpu_cluster(2)))
    assert outcomes(cluster, "device_files_are_open_to_us") == {("gpu01", "passed"), ("gpu02", "failed")}


def test_a_device_of_which_no_file_is_known_has_none_that_is_open():
    theirs = {name: item(lambda _: True, having(vendor="mthreads")) for name in TOPICS}
    assert outcomes(on("*", **theirs)(gpu_cluster(1)), "device_files_are_open_to_us") == {("gpu01", "skipped")}


def torch_on(vendor: str, *environment: Setting, **view: Any) -> Change:
    """All nodes with GPUs of the vendor; the second with a torch that says this, and with these variables."""
    theirs = {name: item(lambda _: True, having(vendor=vendor)) for name in TOPICS}
    own = without(lambda setting: setting.name == "CUDA_VISIBLE_DEVICES")
    second = on("gpu02", torch_view=having(**view), settings=lambda rows: (*own(rows), *environment))
    return both(on("*", **theirs), second)


CPU_ONLY = {"available": False, "version": "2.8.0+cpu", "built_for": None, "devices": ()}


@pytest.mark.parametrize("vendor", ["amd", "hygon", "metax"])
def test_a_torch_for_the_cpu_fails_beside_whichever_gpus_torch_computes_on(vendor: str):
    found = outcomes(torch_on(vendor, **CPU_ONLY)(gpu_cluster(2)), "torch_is_built_for_gpus")
    assert found == {("gpu01", "passed"), ("gpu02", "failed")}


def test_a_build_that_sees_gpus_is_one_for_gpus_whatever_it_calls_itself():
    unnamed = torch_on("metax", built_for=None)(gpu_cluster(2))
    assert outcomes(unnamed, "torch_is_built_for_gpus") == {("gpu01", "passed"), ("gpu02", "passed")}


def test_a_torch_that_sees_fewer_of_their_gpus_fails_unless_the_environment_hides_some():
    def of(*environment: Setting) -> set[tuple[str | None, str]]:
        return outcomes(torch_on("amd", *environment, devices=("unknown",) * 4)(gpu_cluster(2)), "torch_sees_every_gpu")

    assert of() == {("gpu01", "passed"), ("gpu02", "failed")}
    hiding = Setting(name="ROCR_VISIBLE_DEVICES", value="0,1,2,3", source="environment")
    assert of(hiding) == {("gpu01", "passed"), ("gpu02", "passed")}


def test_a_container_whose_tool_shows_more_than_it_was_given_is_not_accused():
    given = both(torch_on("amd", devices=("unknown",) * 4), on("*", container=having(kind="docker")))
    assert outcomes(given(gpu_cluster(2)), "torch_sees_every_gpu") == {("gpu01", "passed"), ("gpu02", "passed")}
    blind = both(torch_on("amd", **CPU_ONLY), on("*", container=having(kind="docker")))
    assert ("gpu02", "failed") in outcomes(blind(gpu_cluster(2)), "torch_is_built_for_gpus")


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
