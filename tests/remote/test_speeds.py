"""Do the lines of a node's measurements become its record, with a reason for each that is missing?"""

from __future__ import annotations

from typing import Any

import msgspec

from diag.facts.record import Missing, peek
from diag.facts.speed import Load, P2p, Speed
from diag.remote.schedule import Schedule
from diag.remote.session import JobEnd
from diag.remote.speeds import speed
from tests.remote.test_schedule import having, of, schedule

END = JobEnd(status=0, signal=None, output="", seconds=9.0)


def lines(found: dict[int, list[dict[str, Any]]], *, done: bool = True) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = [
        {"phase": "spawned", "interpreter": "/opt/python3", "python": "3.11.2", "at": 0.1},
        {"phase": "imported", "torch": "2.8.0", "at": 4.0},
    ]
    for number, rows in found.items():
        said += [{"child": number, "found": row, "at": 5.0} for row in rows]
        said.append({"child": number, "ended": "done", "why": "", "at": 6.0})
    return [*said, *([{"phase": "done", "at": 9.0}] if done else [])]


def read(plan: Schedule, said: list[dict[str, Any]], end: JobEnd | None = END) -> Speed:
    return speed(plan, said, end, 9.0)


PLAN = schedule(having(2), "normal")
PAIR = {"direct": True, "size_bytes": 1 << 28, "times_s": [0.001, 0.002], "verified": True, "wrong": ""}


def test_what_a_pair_says_names_the_gpus_and_the_direction():
    (child,) = of(PLAN, "p2p")
    found = read(PLAN, lines({child.id: [{**PAIR, "places": [0, 1]}, {**PAIR, "places": [1, 0]}]}))
    assert [(row.source, row.target) for row in found.p2p] == [(0, 1), (1, 0)]
    assert isinstance(found.p2p[0], P2p)
    assert found.p2p[0].bytes_per_s == (1 << 28) / 0.0015


def test_each_topic_is_filled_by_its_children():
    gemm, hbm = of(PLAN, "gemm")[1], of(PLAN, "hbm")[0]
    found = read(
        PLAN,
        lines(
            {
                gemm.id: [{"dtype": "bf16", "n": 8192, "flops_per_s": [7e14], "verified": True, "wrong": ""}],
                hbm.id: [{"kind": "hbm", "size_bytes": 2, "times_s": [0.5], "verified": True}],
            },
        ),
    )
    assert (found.gemms[0].gpu, found.gemms[0].dtype) == (1, "bf16")
    assert found.bandwidths[0].bytes_per_s == 4.0
    assert (found.torch, found.interpreter) == ("2.8.0", "/opt/python3")


def test_the_last_of_what_a_product_says_as_it_goes_counts_also_where_it_was_stopped():
    plan = schedule(having(2), "burn", minutes=10)
    burn = of(plan, "burn")[1]
    row = {"dtype": "bf16", "n": 8192, "verified": True, "wrong": ""}
    wrong = {**row, "verified": False, "wrong": "1 of 2 later products had other bits than the first"}
    said = lines({}, done=True)
    said.insert(2, {"child": burn.id, "found": {**row, "flops_per_s": [7e14]}, "at": 5.0})
    said.insert(3, {"child": burn.id, "found": {**wrong, "flops_per_s": [7e14, 6e14]}, "at": 15.0})
    said.insert(4, {"child": burn.id, "ended": "skipped", "why": "stopped at 82 °C", "at": 16.0})
    found = read(plan, said)
    assert [(one.gpu, one.flops_per_s, one.verified) for one in found.gemms] == [(1, (7e14, 6e14), False)]
    assert "stopped at 82 °C" in [one.why for one in found.lost if one.topic == "burn" and one.gpus == (1,)]


def test_a_child_that_was_killed_or_failed_is_lost_with_its_words():
    first, second = of(PLAN, "hbm")
    said = lines({}, done=True)
    said.insert(2, {"child": first.id, "failed": "RuntimeError: CUDA error", "at": 5.0})
    said.insert(3, {"child": first.id, "ended": "failed", "why": "", "at": 5.0})
    said.insert(4, {"child": second.id, "ended": "killed", "why": "no end within 13 s", "at": 5.0})
    lost = {(one.topic, one.gpus): (one.how, one.why) for one in read(PLAN, said).lost}
    assert lost["hbm", (0,)] == ("failed", "RuntimeError: CUDA error")
    assert lost["hbm", (1,)] == ("killed", "no end within 13 s")


def test_why_all_of_it_was_ended_early_is_kept():
    why = "another process began to use a GPU (pid 77)"
    assert read(PLAN, [*lines({}), {"stopped": why, "at": 5.0}]).stopped == why
    assert read(PLAN, lines({})).stopped == ""


def test_when_torch_cannot_be_imported_everything_is_lost_for_that():
    said = [{"phase": "spawned", "at": 0.1}, {"failed": "ImportError: libcudnn.so.9", "at": 2.0}]
    assert {one.why for one in read(PLAN, said).lost} == {"ImportError: libcudnn.so.9"}


def test_when_all_is_ended_at_the_deadline_what_came_is_kept_and_the_rest_says_so():
    hbm = of(PLAN, "hbm")[0]
    row = {"kind": "hbm", "size_bytes": 2, "times_s": [0.5], "verified": True}
    end = JobEnd(status=None, signal=9, output="Killed\n", seconds=99.0, timed_out=True)
    found = read(PLAN, lines({hbm.id: [row]}, done=False), end)
    assert len(found.bandwidths) == 1
    assert {one.why for one in found.lost} == {"all of it was ended at its deadline after imported: Killed"}


def test_a_topic_of_another_level_is_not_measured_there():
    quick = schedule(having(2), "quick")
    assert peek(read(quick, lines({})), "p2p") == Missing("not measured at level quick")


def test_rows_of_another_form_are_none():
    hbm = of(PLAN, "hbm")[0]
    assert read(PLAN, lines({hbm.id: [{"kind": 7}, {"nonsense": True}]})).bandwidths == ()


def test_what_gpus_said_of_themselves_under_load_is_told_by_gpu_and_measurement():
    gemm = of(PLAN, "gemm")[1]
    row = {
        "uuid": "GPU-1", "looks": 9, "busy": 6, "told": 6, "sm_mhz": 1305, "power_w": 512.3,
        "reasons": {"68": 4, "4": 2}, "temperature_c": 91, "generation": 5, "width": 16,
    }  # fmt: skip
    odd = [{**row, "uuid": "GPU-9"}, {"uuid": "GPU-1"}, {**row, "reasons": 3}]
    found = read(PLAN, [*lines({}), {"child": gemm.id, "loads": [row, *odd], "at": 7.0}])
    assert found.loads == (
        Load(
            gpu=1, during="gemm bf16", looks=9, busy=6, told=6, sm_mhz=1305, power_w=512.3, temperature_c=91,
            slowed_by=(("sw_power_cap", 6), ("hw_thermal_slowdown", 4)), pcie_generation=5, pcie_width=16,
        ),
    )  # fmt: skip
    assert "did not answer" in peek(read(PLAN, lines({})), "loads").why
    unwatched = msgspec.structs.replace(PLAN, watch=None)
    assert "not asked" in peek(read(unwatched, lines({})), "loads").why
