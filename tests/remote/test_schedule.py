"""Is what is planned for a node what its level allows, in its time, and refused where it would harm?"""

from __future__ import annotations

import msgspec
import pytest

from diag.facts.device import GpuProcess, TorchView
from diag.facts.node import Node
from diag.facts.record import Missing, NotMeasured
from diag.facts.software import Setting
from diag.remote.schedule import COLLECTIVES_S, SECONDS, Schedule, schedule
from diag.units import GIB, MIB
from tests.checks.machines import cpu_node, gpu_node

BLIND = TorchView(available=False, why_not="error 802", version="2.8.0", built_for="cuda 12.8")


def node(**fields: object) -> Node:
    plain = tuple(one for one in gpu_node(1).settings if one.name != "CUDA_VISIBLE_DEVICES")
    return msgspec.structs.replace(gpu_node(1), **{"settings": plain, **fields})


def having(gpus: int = 8, **fields: object) -> Node:
    """As many GPUs, each with these fields."""
    one = gpu_node(1).gpus[0]
    each = [
        msgspec.structs.replace(
            one, **{"index": index, "uuid": f"GPU-{index}", "numa_node": index * 2 // gpus, **fields}
        )
        for index in range(gpus)
    ]
    return node(gpus=tuple(each))


def topics(plan: Schedule) -> list[str]:
    return list(dict.fromkeys(child.topic for child in plan.children()))


def of(plan: Schedule, topic: str) -> list:
    return [child for child in plan.children() if child.topic == topic]


@pytest.mark.parametrize("level", ["quick", "normal"])
@pytest.mark.parametrize("gpus", [1, 2, 4, 8, 16])
def test_a_level_s_measurements_fit_into_its_time(level, gpus):
    plan = schedule(having(gpus), level)
    rest_s = COLLECTIVES_S if level == "normal" else 0
    assert plan.expected_s <= SECONDS[level] - rest_s
    assert plan.seconds == SECONDS[level] - rest_s


def test_quick_neither_fills_memory_nor_tries_pairs():
    assert topics(schedule(having(), "quick")) == ["gemm", "hbm", "host copies", "fingerprint"]


def test_normal_measures_all_and_pairs_last():
    plan = schedule(having(), "normal")
    assert topics(plan)[-1] == "p2p"
    assert {"context", "fill", "far host copies", "all host copies"} <= set(topics(plan))
    assert not of(plan, "burn")


def test_every_pair_is_tried_once_and_one_pair_first():
    for gpus in (2, 3, 8, 16):
        plan = schedule(having(gpus), "normal")
        pairs = [frozenset(child.gpus) for child in of(plan, "p2p")]
        assert len(pairs) == len(set(pairs)) == gpus * (gpus - 1) // 2
        first = next(group for group in plan.rounds if group[0].topic == "p2p")
        assert [child.gpus for child in first] == [(0, 1)]
        assert all(child.wedge == "p2p" for child in of(plan, "p2p"))


def test_pairs_side_by_side_have_no_gpu_in_common():
    for group in schedule(having(16), "normal").rounds:
        used = [gpu for child in group for gpu in child.gpus if child.topic == "p2p"]
        assert len(used) == len(set(used))


def test_a_child_sees_its_gpus_and_no_other():
    child = of(schedule(having(4), "normal"), "p2p")[2]
    assert child.gpus == (0, 3)
    assert child.visible == {"CUDA_VISIBLE_DEVICES": "GPU-0,GPU-3"}
    assert child.devices == ("cuda:0", "cuda:1")


def test_where_a_driver_gives_no_uuid_the_place_is_named():
    child = of(schedule(having(4, uuid=Missing("not said")), "normal"), "hbm")[3]
    assert (child.devices, child.visible) == (("cuda:3",), {})


def test_gpus_of_metax_are_shown_by_the_numbers_of_their_tool():
    child = of(schedule(having(4, vendor="metax"), "normal"), "p2p")[2]
    assert child.visible == {"MACA_VISIBLE_DEVICES": "0,3", "CUDA_VISIBLE_DEVICES": "0,3"}
    assert (child.devices, child.numbered) == (("cuda:0", "cuda:1"), ("cuda:0", "cuda:3"))


def test_fp8_is_for_those_that_have_it():
    assert any(child.arguments["dtype"] == "fp8" for child in of(schedule(having(), "normal"), "gemm"))
    old = schedule(having(compute_capability="8.0"), "normal")
    assert not any(child.arguments["dtype"] == "fp8" for child in of(old, "gemm"))


def test_host_copies_of_one_numa_node_do_not_disturb_each_other():
    for group in schedule(having(8), "normal").rounds:
        if group[0].topic == "host copies":
            assert len({child.gpus[0] // 4 for child in group}) == len(group) <= 2


def test_of_the_host_s_memory_at_most_5_percent_are_pinned_at_once():
    small = msgspec.structs.replace(
        having(8), memory=msgspec.structs.replace(gpu_node(1).memory, available_bytes=8 * GIB)
    )
    for group in schedule(small, "normal").rounds:
        sizes = [child.arguments["size_bytes"] for child in group if "host copies" in child.topic]
        rounded = [1 << (size - 1).bit_length() for size in sizes]  # as torch does it (CachingHostAllocator)
        assert sum(rounded) <= 8 * GIB * 0.05
    smaller = msgspec.structs.replace(small, memory=msgspec.structs.replace(small.memory, available_bytes=GIB))
    plan = schedule(smaller, "normal")
    assert not of(plan, "host copies")
    assert "5 % of the host's free memory" in plan.left_out[0].why


def test_a_busy_node_s_memory_is_never_filled_and_nothing_is_burnt_there():
    plan = schedule(having(), "burn", minutes=5, busy="busy: vllm runs there (pid 7)")
    assert not of(plan, "fill")
    assert not of(plan, "burn")
    assert {lost.topic for lost in plan.left_out} == {"fill", "burn"}
    assert all("vllm runs there" in lost.why for lost in plan.left_out)


def test_a_burn_is_staggered_and_stops_five_degrees_below_the_slowdown():
    plan = schedule(having(4), "burn", minutes=10, late_s=2.0)
    assert [child.delay_s for child in of(plan, "burn")] == [2.0, 5.0, 8.0, 11.0]
    assert plan.watch["below_c"] == 5
    assert plan.watch["stop_c"] == {f"GPU-{index}": 82 for index in range(4)}
    assert plan.seconds >= 600 + SECONDS["normal"] - COLLECTIVES_S
    assert all(child.deadline_s == 630 for child in of(plan, "burn")), "from when each begins"


def test_there_is_time_for_the_last_of_a_burn_to_start_and_to_end():
    """Also where all before it took its time: what lasts is late by its start, its check and a stretch."""
    for gpus in (1, 8, 16):
        plan = schedule(having(gpus), "burn", minutes=10, late_s=40.0)
        last = of(plan, "burn")[-1]
        assert plan.seconds >= SECONDS["normal"] - COLLECTIVES_S + last.delay_s + last.deadline_s


def test_what_cannot_be_watched_is_not_burnt_in():
    plan = schedule(having(4, slowdown_c=Missing("not said")), "burn", minutes=10)
    assert not of(plan, "burn")
    assert "nobody could stop" in plan.left_out[-1].why


def test_newcomers_are_looked_for_where_pids_can_be_known():
    assert schedule(having(), "normal").watch["newcomers"] is True
    for fields in ({"kind": "docker"}, {"pids_of_machine": False}, {"pids_of_machine": Missing("cannot be read")}):
        apart = msgspec.structs.replace(gpu_node(1).container, **fields)
        assert schedule(msgspec.structs.replace(having(), container=apart), "normal").watch["newcomers"] is False


def test_who_used_a_gpu_when_the_facts_were_taken_is_no_newcomer():
    assert schedule(having(), "normal").watch["known"] == []
    used = having(processes=(GpuProcess(pid=77, ours=False),))
    assert schedule(used, "normal").watch["known"] == [77]
    unseen = having(processes=Missing("NVML: No Permission"))
    assert schedule(unseen, "normal").watch["known"] is None


def test_gpus_that_the_environment_hides_are_left_out_and_named():
    hidden = (Setting(name="CUDA_VISIBLE_DEVICES", value="0,GPU-5", source="environment"),)
    plan = schedule(msgspec.structs.replace(having(), settings=hidden), "quick")
    assert [child.gpus[0] for child in of(plan, "hbm")] == [0, 5]
    assert plan.hidden == "CUDA_VISIBLE_DEVICES=0,GPU-5 hides 6 of 8 GPUs"


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (cpu_node(1), "has no CUDA"),
        (node(software=msgspec.structs.replace(gpu_node(1).software, torch=None)), "no torch under"),
        (node(settings=(Setting(name="CUDA_VISIBLE_DEVICES", value="", source="environment"),)), "hides 8 of 8"),
        (node(gpus=Missing("NVML did not answer within 8 s")), "NVML did not answer"),
        (node(torch_view=BLIND), "torch sees no GPU \\(error 802\\)"),
    ],
)
def test_where_nothing_can_be_measured_the_reason_is_said(one, why):
    with pytest.raises(NotMeasured, match=why):
        schedule(one, "normal")


def test_sizes_are_whole_mebibytes():
    assert all(
        child.arguments["size_bytes"] % MIB == 0
        for child in schedule(having(3), "normal").children()
        if "size_bytes" in child.arguments
    )
