"""Does each measurement lose only itself? A real agent runs children that hang, crash and fail."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from diag.remote.measurements import LEADER
from tests.node.trees import plant
from tests.remote.agents import Workshop, until

pytestmark = pytest.mark.torch

FAULTY = str(Path(__file__).parent)


def child(number: int, call: str, **about: Any) -> dict[str, Any]:
    return {"id": number, "call": f"faulty_measurements:{call}", "devices": ["cpu"], "deadline_s": 20, **about}


def run(
    shop: Workshop, *rounds: list[dict[str, Any]], seconds: float = 60, watch: Any = None,
    environment: dict[str, str] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    lines: list[Any] = []
    plan = json.dumps({"rounds": rounds, "seconds": seconds, "watch": watch})
    end = shop.session().job([*LEADER, plan], {"PYTHONPATH": FAULTY, **(environment or {})}, seconds + 20, lines.append)
    assert end.status == 0, end.output
    assert end.left_behind == ()
    return lines


def ended(lines: list[dict[str, Any]]) -> dict[int, tuple[str, str]]:
    return {line["child"]: (line["ended"], line["why"]) for line in lines if "ended" in line}


def found(lines: list[dict[str, Any]], number: int) -> list[dict[str, Any]]:
    return [line["found"] for line in lines if line.get("child") == number and "found" in line]


def test_children_that_hang_crash_or_fail_lose_only_themselves(workshop: Workshop):
    began = time.monotonic()
    lines = run(
        workshop,
        [child(1, "hang", deadline_s=1.5), child(2, "crash"), child(3, "fail"), child(4, "right")],
        [child(5, "right")],
    )
    how = ended(lines)
    assert how[1] == ("killed", "no end within 1.5 s")
    assert how[2] == ("failed", "ended by signal 11")
    assert how[3][0] == "failed"
    assert how[4] == how[5] == ("done", "")
    said = [line["failed"] for line in lines if "failed" in line]
    assert said == ["RuntimeError: CUDA error: an illegal memory access was encountered"]
    assert found(lines, 1) == [{"before": "it hung"}], "what it said before is kept"
    assert time.monotonic() - began < 30
    workshop.sessions[0].end(5)
    workshop.assert_nothing_is_left()


def test_each_child_is_a_process_of_its_own_that_sees_only_its_devices(workshop: Workshop):
    lines = run(workshop, [child(n, "right", visible={"CUDA_VISIBLE_DEVICES": f"GPU-{n}"}) for n in (1, 2)])
    one, two = found(lines, 1)[0], found(lines, 2)[0]
    assert one["pid"] != two["pid"]
    assert (one["seen"], two["seen"]) == ("GPU-1", "GPU-2")


def test_after_a_wedge_nothing_of_its_kind_is_begun(workshop: Workshop):
    rounds = [
        [child(1, "right", wedge="p2p")],
        [child(2, "hang", wedge="p2p", deadline_s=1)],
        [child(3, "right", wedge="p2p")],
        [child(4, "right")],
    ]
    how = ended(run(workshop, *rounds))
    assert how[1][0] == "done"
    assert how[2][0] == "killed"
    assert how[3][0] == "skipped"
    assert "faulty_measurements:hang" in how[3][1]
    assert how[4][0] == "done"


def test_those_of_a_round_begin_together(workshop: Workshop):
    lines = run(workshop, [child(1, "when"), child(2, "when", arguments={"sleep_s": 1.0}), child(3, "fail")])
    times = [found(lines, number)[0] for number in (1, 2)]
    assert min(each["went"] for each in times) >= max(each["came"] for each in times)
    assert abs(times[0]["went"] - times[1]["went"]) < 0.1


def test_one_that_never_comes_holds_up_nobody_longer_than_its_deadline(workshop: Workshop):
    lines = run(workshop, [child(1, "when"), child(2, "hang", deadline_s=1)])
    assert ended(lines)[1][0] == "done"


def test_one_that_waited_for_another_has_all_of_its_own_time(workshop: Workshop):
    """Both have as long, and the one that hangs is ended at its deadline: the other was at the gate until then."""
    lines = run(workshop, [child(1, "when", deadline_s=2), child(2, "hang", deadline_s=2)])
    assert ended(lines)[1] == ("done", "")
    assert ended(lines)[2] == ("killed", "no end within 2 s")


def test_staggered_ones_begin_one_after_the_other(workshop: Workshop):
    lines = run(workshop, [child(n, "when", delay_s=n * 0.5) for n in range(3)])
    came, went = ([found(lines, n)[0][what] for n in range(3)] for what in ("came", "went"))
    assert came[1] - came[0] > 0.3
    assert came[2] - came[1] > 0.3
    assert all(late - early < 0.4 for early, late in zip(came, went, strict=True)), "nobody waits for the last one"
    assert [how for how, _ in ended(lines).values()] == ["done"] * 3


def test_past_the_time_of_the_whole_what_runs_is_ended_unaccused_and_the_rest_is_not_begun(workshop: Workshop):
    began = time.monotonic()
    how = ended(run(workshop, [child(1, "hang", deadline_s=50)], [child(2, "right")], seconds=6))
    assert how[1] == how[2] == ("skipped", "no time was left for it")
    assert time.monotonic() - began < 20


def test_what_was_to_be_watched_and_cannot_be_is_ended(workshop: Workshop):
    """There is no NVIDIA GPU here, so nobody could tell that one gets too hot."""
    lines = run(
        workshop,
        [child(1, "hang", deadline_s=50)],
        [child(2, "right")],
        watch={"stop_c": {"GPU-a": 82}, "newcomers": False},
    )
    how = ended(lines)
    assert how[1] == ("skipped", "the temperature cannot be watched: no NVIDIA GPU")
    assert how[2][0] == "skipped"
    assert [line["stopped"] for line in lines if "stopped" in line] == [how[1][1]]


def test_what_a_gpu_says_of_itself_under_load_goes_with_what_ran_on_it(workshop: Workshop, library: Path, tmp_path):
    """NVML's real bindings; GPU 1 is busy, slow and hot, GPU 2 has no work yet, of GPU 3 nothing was measured."""
    root = plant(tmp_path, {"dev/nvidia0": "", "sys/bus/pci/devices/none": ""})
    planted = {"FAKE_BUSY": "1:100", "FAKE_SM": "1:1305", "FAKE_THROTTLE": "1:68", "FAKE_WIDTH": "1:8",
               "FAKE_TEMPERATURE": "1:91"}  # fmt: skip
    lines = run(
        workshop,
        [child(n, "last", arguments={"seconds": 2.5}, uuids=[uuid(n)]) for n in (1, 2)],
        [child(4, "right")],
        watch={"stop_c": {}, "newcomers": False, "root": str(root)},
        environment={"LD_LIBRARY_PATH": str(library), **planted},
    )
    loads = {line["child"]: line["loads"] for line in lines if "loads" in line}
    ((one,), (two,)) = loads[1], loads[2]
    assert 4 not in loads
    assert one["uuid"] == uuid(1)
    assert one["looks"] == one["busy"] == one["told"] == one["reasons"]["68"] >= 3
    assert {name: one[name] for name in ("temperature_c", "generation", "width", "power_w")} == {
        "temperature_c": 91, "generation": 5, "width": 8, "power_w": 76.5,
    }  # fmt: skip
    assert one["sm_mhz"] == 1305
    assert (two["busy"], two["sm_mhz"], two["reasons"], two["power_w"], two["width"]) == (0, None, {}, None, 16)


def uuid(index: int) -> str:
    return f"GPU-00000000-0000-0000-0000-{index:012x}"


def test_the_agent_s_end_ends_every_child(workshop: Workshop):
    session = workshop.session()
    lines: list[Any] = []
    plan = json.dumps({"rounds": [[child(1, "hang", deadline_s=100)]], "seconds": 100, "watch": None})

    def job() -> None:
        try:
            session.job([*LEADER, plan], {"PYTHONPATH": FAULTY}, 100, lines.append)
        except Exception as error:  # noqa: BLE001 - the agent's end is what is planted
            lines.append(error)

    threading.Thread(target=job, daemon=True).start()
    assert until(lambda: any(line.get("found") for line in lines if isinstance(line, dict)), 30)
    os.kill(session.hello.pid, 9)
    workshop.assert_nothing_is_left(10)


@pytest.mark.parametrize(("count", "taken"), [(2, ["cuda:0", "cuda:1"]), (8, ["cuda:0", "cuda:3"])])
def test_where_a_library_hides_nothing_gpus_are_taken_by_their_numbers(count, taken, programs):
    """Read before the variables were set, all are seen: the first two would be measured in place of others."""
    devices = programs("measure")._devices
    torch = SimpleNamespace(cuda=SimpleNamespace(device_count=lambda: count))
    spec = {
        "devices": ["cuda:0", "cuda:1"],
        "numbered": ["cuda:0", "cuda:3"],
        "visible": {"MACA_VISIBLE_DEVICES": "0,3"},
    }
    assert devices(torch, spec) == taken
    assert devices(torch, {"devices": ["cuda:3"]}) == ["cuda:3"]
