"""Is a burn stopped before a GPU slows itself down, and all of it when somebody else begins to use one?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.node.asking import zipped
from tests.remote.agents import until

CHILD = "import sys; sys.path.insert(0, sys.argv[1]); import pynvml, heat; heat.look(pynvml)"
NODE = Path(__file__).parents[2] / "diag" / "node"


@pytest.fixture
def watch(monkeypatch) -> Any:
    """A watch over GPU-a that stops at 82 °C, of which no process was started."""
    monkeypatch.syspath_prepend(str(NODE))
    import heat  # noqa: PLC0415 - a module of the agent, found through the path above

    assert heat.CHILD == CHILD
    one = heat.Watch.__new__(heat.Watch)
    one.stop_c, one.newcomers, one.known, one.ours = {"GPU-a": 82}, True, None, set()
    one.token, one.inside, one.heard, one.below_c = "", False, None, 5
    monkeypatch.setattr(heat, "lives", lambda _: True)
    yield one
    for name in ("heat", "descendants", "gpus", "own_code", "pci", "verbs", "proc", "under_load"):
        sys.modules.pop(name, None)


def row(uuid: str, degrees: int | None, *pids: int) -> dict[str, Any]:
    return {"uuid": uuid, "temperature_c": degrees, "processes": [{"pid": pid} for pid in pids]}


def alarms(watch: Any, *rows: dict[str, Any]) -> list[tuple[str, str]]:
    return list(watch.judge({"gpus": list(rows)}))


def test_a_gpu_that_comes_to_its_limit_is_stopped_and_no_other(watch):
    assert alarms(watch, row("GPU-a", 81), row("GPU-b", 99)) == []
    assert alarms(watch, row("GPU-a", 82)) == [("GPU-a", "stopped at 82 °C, 5 °C below where it slows itself down")]


@pytest.mark.parametrize("degrees", [60, 95, None])
def test_a_gpu_that_says_how_far_it_is_to_its_limit_is_stopped_by_that_alone(watch, degrees):
    """82 °C come from when it was idle; under load its memory may be the nearest to a limit, and that is elsewhere."""
    assert alarms(watch, {**row("GPU-a", degrees), "margin_c": 6}) == []
    assert alarms(watch, {**row("GPU-a", degrees), "margin_c": 5}) == [
        ("GPU-a", "stopped 5 °C below where it slows itself down")
    ]


def test_what_nobody_reads_is_not_kept(watch):
    assert alarms(watch, row("GPU-a", 40)) == []
    assert watch.heard is None
    watch.heard = []
    assert alarms(watch, row("GPU-a", 41)) == []
    assert [rows[0]["temperature_c"] for rows in watch.heard] == [41]


def test_what_can_no_longer_be_watched_is_stopped(watch):
    assert alarms(watch, row("GPU-a", None)) == [("GPU-a", "its temperature cannot be watched")]
    assert list(watch.judge({"why": "NVML did not answer"})) == [
        ("", "the temperature cannot be watched: NVML did not answer")
    ]


@pytest.mark.parametrize("rows", [[row("GPU-b", 40)], [{"uuid": None, "temperature_c": None}], []])
def test_a_gpu_that_nvml_names_no_more_is_stopped(watch, rows):
    assert alarms(watch, *rows) == [("GPU-a", "its temperature cannot be watched: NVML names it no more")]


def test_without_a_burn_a_silent_nvml_stops_nothing(watch):
    watch.stop_c = {}
    assert list(watch.judge({"why": "NVML did not answer"})) == []


def test_somebody_who_begins_to_use_a_gpu_ends_it_all(watch):
    assert alarms(watch, row("GPU-a", 40, 4000001)) == [], "who was there before is known"
    assert alarms(watch, row("GPU-a", 40, 4000001, os.getpid())) == [], "we are no stranger"
    assert alarms(watch, row("GPU-a", 40, 4000001, 4000002)) == [
        ("", "another process began to use a GPU (pid 4000002)")
    ]


def test_whoever_came_since_the_facts_were_taken_is_a_newcomer(watch):
    watch.known = {4000001}
    assert alarms(watch, row("GPU-a", 40, 4000001)) == []
    assert alarms(watch, row("GPU-a", 40, 4000001, 4000002)) == [
        ("", "another process began to use a GPU (pid 4000002)")
    ]


def test_a_pid_that_is_nobody_s_is_no_stranger(watch, monkeypatch):
    """It has ended meanwhile, or is one of another pid namespace."""
    monkeypatch.undo()
    watch.known = set()
    assert alarms(watch, row("GPU-a", 40, 4000004)) == []
    assert alarms(watch, row("GPU-a", 40, os.getppid())) != []


def test_a_measurement_that_has_just_ended_is_no_stranger(watch):
    """NVML spoke of it before it ended, or goes on to: by now it is none of our living processes."""
    watch.known = set()
    watch.ours.add(4000003)
    assert alarms(watch, row("GPU-a", 40, 4000003)) == []


def test_what_carries_the_token_is_ours_wherever_it_runs(watch):
    """Below a daemon, too; and what has ended is nobody's."""
    watch.token, watch.known = "5" * 16, set()
    with subprocess.Popen(["sleep", "60"], env={"DIAG_JOB": f"{'5' * 16}.inside"}) as ours:
        assert until(Path(f"/proc/{ours.pid}/environ").read_bytes)  # a moment after it began it has none
        assert not watch._is_foreign(ours.pid)
        ours.kill()
    with subprocess.Popen(["sleep", "60"], env={"DIAG_JOB": f"{'6' * 16}.1."}) as other:
        assert watch._is_foreign(other.pid)
        other.kill()
    assert not watch._is_foreign(2**22 + 1)


def test_what_cannot_be_read_is_foreign_but_where_some_of_ours_run_in_a_container(watch, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError

    watch.token = "5" * 16
    monkeypatch.setattr("builtins.open", refuse)
    found = [watch._is_foreign(4711)]
    watch.inside = True
    found.append(watch._is_foreign(4711))
    monkeypatch.undo()
    assert found == [True, False]


class NoDriver:
    class NVMLError(Exception): ...

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's name
        raise self.NVMLError("Driver Not Loaded")


@pytest.mark.parametrize(("planted", "margin_c"), [({}, None), ({"FAKE_MARGIN": "0:58"}, 58)])
def test_the_real_bindings_tell_temperature_and_processes_of_every_gpu(library, tmp_path_factory, planted, margin_c):
    """As the watch starts it; the library is the one that answers without a GPU."""
    code = f"import sys; sys.argv[1:] = [{str(zipped(tmp_path_factory.mktemp('zip')))!r}]; {CHILD}"
    child = subprocess.Popen(
        [sys.executable, "-B", "-c", code], env={"LD_LIBRARY_PATH": str(library), **planted}, stdout=subprocess.PIPE
    )
    try:
        lines = [json.loads(child.stdout.readline()) for _ in range(2)]
    finally:
        child.kill()
        child.communicate()
    assert [len(line["gpus"]) for line in lines] == [8, 8]
    assert lines[0]["gpus"][0] == {
        "uuid": "GPU-00000000-0000-0000-0000-000000000000", "processes": [], "temperature_c": 31,
        "margin_c": margin_c, "busy": False, "sm_mhz": 345, "throttle": 1, "power_w": 76.5, "generation": 5,
        "width": 16,
    }  # fmt: skip


@pytest.mark.usefixtures("watch")
def test_a_driver_that_is_not_loaded_is_quoted(monkeypatch):
    import heat  # noqa: PLC0415 - as above

    told: list[bytes] = []
    monkeypatch.setattr(heat.os, "write", lambda _, text: told.append(text))
    heat.look(NoDriver())
    assert told == [b'{"why": "Driver Not Loaded"}\n']


def test_silence_is_an_answer(watch):
    watch._lines, watch._heard = b"", -100.0
    watch._out, end = os.pipe()
    os.set_blocking(watch._out, False)
    assert list(watch.alarms()) == [("", "the temperature cannot be watched: NVML did not answer within 6 s")]
    os.close(end)
