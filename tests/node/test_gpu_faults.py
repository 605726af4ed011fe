"""Does a fault that a library reports become the failure of the check about it? The whole way, without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from diag import probes
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import Verdict
from diag.judge import catalogue, judge
from diag.probes.verbs import Answer
from tests.checks.healthy import gpu_cluster
from tests.node.asking import ask
from tests.node.nvml_library import ADDRESSES, Ask
from tests.node.trees import H200, pci_device, plant


@pytest.fixture
def cluster(ask_gpus: Ask, tmp_path: Path) -> Any:
    """Four nodes of eight H200 as the library and the bus describe them, the second with what is planted."""
    tree: dict[str, str] = {}
    for index, address in enumerate(ADDRESSES):
        place = f"sys/devices/pci0000:{index:02x}/0000:{index:02x}:01.0/{address}"
        files = pci_device(
            address,
            H200,
            numa_node=f"{index // 4}\n",
            max_link_width="16\n",
            local_cpulist="0-31\n",
            driver="-> ../nvidia",
        )
        tree |= {f"{place}/{Path(name).name}": text for name, text in files.items()}
        tree[f"sys/bus/pci/devices/{address}"] = f"-> ../../../../{place}"
    bus = ask("pci:devices", root=plant(tmp_path / "bus", tree))

    def facts(**planted: object) -> dict[str, Any]:
        told = {"gpus": ask_gpus(sample_s=0.01, **planted), "pci": bus, "accelerators": {"absent": True}}
        found = probes.facts_from(tuple(Answer(name=name, value=value) for name, value in told.items()))
        return {topic: found[topic] for topic in ("devices", "gpus", "between")}

    def made(**planted: object) -> Snapshot:
        well, faulty = facts(), facts(**planted)
        replaced = tuple(
            msgspec.structs.replace(node, **(faulty if node.name == "gpu02" else well)) for node in gpu_cluster().nodes
        )
        return msgspec.structs.replace(gpu_cluster(), nodes=replaced)

    return made


OURS = ("checks/gpus.py", "checks/gpu_health.py", "checks/gpu_links.py", "checks/nvlinks.py")
"""What the library and the bus decide; other checks judge what else there is on a node."""


def of_ours(snapshot: Snapshot) -> list[Verdict]:
    ours = {check.id for check in catalogue() if check.file in OURS}
    return [verdict for verdict in judge(snapshot).verdicts if verdict.check in ours]


def wrong(snapshot: Snapshot) -> set[tuple[str, str | None, str | None]]:
    return {
        (verdict.check, verdict.node, verdict.subject)
        for verdict in of_ours(snapshot)
        if verdict.outcome in ("failed", "advice", "broken", "not_measured")
    }


def test_eight_healthy_gpus_are_healthy_on_every_node(cluster: Any):
    snapshot = cluster()
    assert wrong(snapshot) == set()
    passed = {verdict.check for verdict in judge(snapshot).verdicts if verdict.outcome == "passed"}
    assert {"gpu_has_no_uncorrected_memory_errors", "nvswitch_fabric_took_the_gpu_in"} <= passed


@pytest.mark.parametrize(
    ("planted", "check"),
    [
        ({"FAKE_UNCORRECTED": "3:2"}, "gpu_has_no_uncorrected_memory_errors"),
        ({"FAKE_REMAP_PENDING": "3:1"}, "no_memory_waits_to_be_taken_out_of_use"),
        ({"FAKE_REMAP_FAILED": "3:1"}, "faulty_memory_could_be_taken_out_of_use"),
        ({"FAKE_THROTTLE": "3:128"}, "gpu_is_not_slowed_down_by_its_board"),
        ({"FAKE_THROTTLE": "3:4"}, "gpus_are_not_slowed_down_by_their_driver"),
        ({"FAKE_CAP_W": "3:350"}, "power_caps_are_the_default"),
        ({"FAKE_WIDTH": "3:8"}, "gpus_use_all_their_lanes_now"),
        ({"FAKE_GENERATION_MAX": "3:4"}, "gpu_slots_are_of_their_generation"),
        ({"FAKE_REPLAYS": "3:4000000"}, "gpus_seldom_repeat_packets"),
        ({"FAKE_RECOVERIES": "3:2"}, "nvlinks_repeat_and_recover_nothing"),
        ({"FAKE_STATE": "3:1"}, "nvswitch_fabric_took_the_gpu_in"),
        ({"FAKE_MASK": "3:1"}, "nvswitch_fabric_took_the_gpu_in"),
    ],
)
def test_a_fault_of_one_gpu_fails_its_check_on_that_gpu_alone(cluster: Any, planted: dict[str, str], check: str):
    (found,) = (verdict for verdict in of_ours(cluster(**planted)) if verdict.outcome in ("failed", "advice"))
    assert (found.check, found.node) == (check, "gpu02")
    assert found.subject == "gpu:3" or (found.found or "").count("gpu:") == (found.found or "").count("gpu:3:") == 1


def test_heat_is_one_failure_and_what_follows_from_it_is_not_judged(cluster: Any):
    found = wrong(cluster(FAKE_TEMPERATURE="3:91", FAKE_THROTTLE="3:72"))
    assert found == {
        ("gpu_is_cooler_than_where_it_slows_down", "gpu02", "gpu:3"),
        ("gpu_is_not_slowed_down_by_its_board", "gpu02", "gpu:3"),
        ("gpu_is_not_slowed_down_under_load", "gpu02", "gpu:3"),
    }


def test_a_slot_with_half_its_lanes_and_links_that_are_down_fail_as_they_should(cluster: Any):
    found = wrong(cluster(FAKE_WIDTH="3:8", FAKE_WIDTH_MAX="3:8"))
    assert ("gpu_slot_has_all_its_lanes", "gpu02", "gpu:3") in found
    found = wrong(cluster(FAKE_LINKS_UP="3:16"))
    assert found == {
        ("gpus_have_equally_many_nvlinks_up", "gpu02", None),
        ("gpus_of_a_fabric_use_all_their_nvlinks", "gpu02", None),
        ("nvlinks_are_as_many_as_on_peers", "gpu02", None),
    }


def test_a_driver_that_forbids_peers_is_named_with_the_pair(cluster: Any):
    assert wrong(cluster(FAKE_P2P="3:4")) == {("linked_gpus_reach_each_other", "gpu02", None)}


def test_after_a_hang_nothing_that_was_not_answered_passes(cluster: Any):
    snapshot = cluster(seconds=2, FAKE_HANG_IN="nvmlDeviceGetRemappedRows")
    verdicts = [verdict for verdict in judge(snapshot).verdicts if verdict.node == "gpu02"]
    of = {verdict.check: verdict.outcome for verdict in verdicts}
    assert of["gpu_memory_is_free"] == "passed"
    assert of["faulty_memory_could_be_taken_out_of_use"] == "not_measured"
    assert of["nvlinks_are_as_many_as_on_peers"] == "not_measured"
