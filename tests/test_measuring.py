"""Which nodes' GPUs are measured, in which order of load, and which get the ladder? The agents here are fakes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import pytest

from diag.errors import NodeError
from diag.facts.device import GpuSystem
from diag.facts.node import Node
from diag.facts.record import peek, unknown
from diag.facts.speed import Speed
from diag.measuring import Scene, diagnosed, ladders, read_speeds, recounted, speeds
from diag.probes import dcgm, gpu_rises
from diag.probes.verbs import Answer, Request
from diag.remote.schedule import SECONDS
from diag.remote.session import JobEnd
from diag.wishes import Wishes
from tests.checks.hgx_speed import collectives
from tests.checks.machines import cpu_node, gpu_node


class FakeSession:
    """Its leader says that it spawned, and ends."""

    def __init__(self) -> None:
        self.plans: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.given_s = 0.0

    def job(
        self, argv: Sequence[str], env: Mapping[str, str], deadline_s: float, on_line: Callable[[Any], None]
    ) -> JobEnd:
        self.plans.append({**json.loads(argv[-1]), "env": env, "deadline_s": deadline_s})
        on_line({"phase": "spawned", "interpreter": "/opt/python3"})
        on_line({"phase": "done"})
        return JobEnd(status=0, signal=None, output="", seconds=1.0)

    def ask(self, requests: Sequence[Request], deadline_s: float) -> tuple[Answer, ...]:
        """DCGM finds one test to have failed; NVML does not answer, and the next question nobody."""
        self.given_s = deadline_s
        self.asked = [request.name for request in requests]
        if requests == gpu_rises.REQUESTS:
            return tuple(Answer(name=request.name, why="did not answer within 12 s") for request in requests)
        if self.asked != [dcgm.REQUEST.name]:
            raise NodeError("gpu01", "agent_silent", "no answer")
        failed = {"name": "Denylist", "results": [{"gpu_id": "3", "status": "Fail"}]}
        tree = {"DCGM Diagnostic": {"test_categories": [{"tests": [failed]}]}}
        value = {"status": 226, "stdout": json.dumps(tree), "stderr": ""}
        return tuple(Answer(name=request.name, value=value) for request in requests)


def scene(*nodes: Node, unwilling: Mapping[str, str] | None = None, **wishes: Any) -> Scene:
    return Scene(
        nodes={node.name: node for node in nodes},
        sessions={node.name: FakeSession() for node in nodes},
        unwilling=lambda name: (unwilling or {}).get(name, ""),
        wishes=Wishes(**wishes),
    )


def test_quick_measures_each_gpu_and_no_collective():
    here = scene(gpu_node(1), level="quick")
    work = speeds(here)
    assert work.stage == "speed"
    found = work.calls["gpu01"]()
    assert found.level == "quick"
    assert found.interpreter == "/opt/python3"
    assert peek(found, "collectives").why == "not measured at level quick"
    assert "did not answer within 12 s" in peek(found, "rises").why
    (plan,) = here.sessions["gpu01"].plans
    assert plan["env"]["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert plan["seconds"] == 30 < plan["deadline_s"]
    assert here.sessions["gpu01"].given_s == gpu_rises.ANSWER_S


def test_what_is_measured_ends_within_the_stage_s_time_and_loses_no_node():
    here = scene(gpu_node(1), level="normal", deadlines_s={"speed": 20})
    found = speeds(here).calls["gpu01"]()
    (plan,) = here.sessions["gpu01"].plans
    assert plan["seconds"] == 11.25
    assert 0 < here.sessions["gpu01"].given_s < 20 - 5
    short = scene(gpu_node(1), level="normal", deadlines_s={"speed": 12})
    found = speeds(short).calls["gpu01"]()
    assert peek(found, "collectives").why == "no time was left for it"


def test_collectives_get_the_time_that_the_gpus_by_themselves_did_not_need(monkeypatch):
    given: list[float] = []
    monkeypatch.setattr("diag.remote.node_collectives.measure", lambda *words, **_: given.append(words[4]))
    speeds(scene(gpu_node(1), level="normal")).calls["gpu01"]()
    assert SECONDS["normal"] - 1 < given[0] <= SECONDS["normal"]


def test_dcgm_is_not_asked_where_somebody_else_began_to_use_a_gpu():
    session, node = FakeSession(), msgspec.structs.replace(gpu_node(1), gpu_system=GpuSystem(dcgm="healthy"))
    ended = Speed(level="normal", seconds=1.0, stopped="another process began to use a GPU (pid 77)")
    assert "another process" in peek(diagnosed(session, node, "normal", ended, math.inf), "dcgm_failures").why
    assert session.asked == []


class Silent(FakeSession):
    def ask(self, _requests: Sequence[Request], deadline_s: float) -> tuple[Answer, ...]:
        raise NodeError("gpu01", "agent_silent", f"no answer within {deadline_s:g} s")


def test_an_agent_that_falls_silent_after_the_load_costs_nothing_that_was_measured():
    node = msgspec.structs.replace(gpu_node(1), gpu_system=GpuSystem(dcgm="healthy"))
    found = diagnosed(Silent(), node, "normal", Speed(level="normal", seconds=1.0), math.inf)
    assert peek(found, "dcgm_failures").why == "no answer within 62 s"
    found = recounted(Silent(), node, found, time.monotonic(), math.inf)
    assert peek(found, "rises").why == "no answer within 18 s"


def test_what_comes_after_the_load_is_not_asked_where_no_time_is_left():
    session, node = FakeSession(), msgspec.structs.replace(gpu_node(1), gpu_system=GpuSystem(dcgm="healthy"))
    now = time.monotonic()
    found = recounted(
        session, node, diagnosed(session, node, "normal", Speed(level="normal", seconds=1.0), now), 0, now
    )
    assert [peek(found, topic).why for topic in ("dcgm_failures", "rises")] == ["no time was left for it"] * 2
    assert session.asked == []


def test_a_node_without_gpus_torch_or_leave_is_left_out_with_its_reason():
    bare = msgspec.structs.replace(gpu_node(3), software=msgspec.structs.replace(gpu_node(3).software, torch=None))
    here = scene(gpu_node(1), gpu_node(2), bare, cpu_node(4), unwilling={"gpu02": "busy: vllm runs there (pid 7)"})
    work = speeds(here)
    assert work.calls.keys() == {"gpu01"}
    assert work.left_out["gpu02"] == "busy: vllm runs there (pid 7)"
    assert "no torch under" in work.left_out["gpu03"]
    assert work.left_out["node4"] == "no accelerator"


def test_level_passive_makes_no_load():
    work = speeds(scene(gpu_node(1), level="passive"))
    assert (dict(work.calls), work.left_out) == ({}, {"gpu01": "level passive makes no load"})


def test_nodes_begin_to_burn_one_after_the_other():
    here = scene(gpu_node(1), gpu_node(2), level="burn", minutes=1.0)
    for call in speeds(here).calls.values():
        with pytest.raises(NodeError):  # the collectives after it: this session answers nothing
            call()
    begins = [[child["delay_s"] for child in here.sessions[name].plans[0]["rounds"][-1]] for name in ("gpu01", "gpu02")]
    assert begins[0][0] < begins[1][0] < begins[0][1]


def slow(number: int, giga: float) -> Node:
    """A node whose largest all-reduce came to that busbw."""
    node, good = gpu_node(number), collectives(number)
    times = (*good.times[:2], msgspec.structs.replace(good.times[2], busbw_bytes_per_s=giga * 1e9), *good.times[3:])
    together = msgspec.structs.replace(good, times=times)
    return msgspec.structs.replace(node, speed=msgspec.structs.replace(node.speed, collectives=together))


def test_only_a_degraded_node_gets_the_ladder():
    here = scene(gpu_node(1), gpu_node(2), slow(3, 181), gpu_node(4))
    assert ladders(here).calls.keys() == {"gpu03"}


def test_a_node_below_its_peers_gets_it_though_nothing_is_published_of_its_model():
    unheard = [
        msgspec.structs.replace(
            node, gpus=tuple(msgspec.structs.replace(gpu, name="MetaX MXC500") for gpu in node.gpus)
        )
        for node in (gpu_node(1), gpu_node(2), gpu_node(3), slow(4, 400))
    ]
    assert ladders(scene(*unheard)).calls.keys() == {"gpu04"}


def test_healthy_nodes_get_none():
    assert ladders(scene(gpu_node(1), gpu_node(2), gpu_node(3))).calls == {}


def test_files_are_not_read_where_no_model_was_named():
    work = read_speeds(scene(gpu_node(1)))
    assert (dict(work.calls), work.left_out, work.always) == ({}, {"gpu01": "no --model was named"}, False)


def after(level: str, health: str | None) -> tuple[Any, list[str]]:
    session, node = FakeSession(), msgspec.structs.replace(gpu_node(1), gpu_system=GpuSystem(dcgm=health))
    found = diagnosed(session, node, level, Speed(level=level, seconds=1.0), math.inf)
    return peek(found, "dcgm_failures"), session.asked


def test_dcgm_is_asked_for_its_diagnosis_where_it_is_installed():
    assert after("normal", "healthy") == (("Denylist gpu:3",), ["dcgm diagnosis"])
    assert after("normal", None) == (None, [])


def test_dcgm_is_not_asked_at_level_quick():
    found, asked = after("quick", "healthy")
    assert (found.why, asked) == ("DCGM is asked for its diagnosis from level normal on", [])


def test_whether_dcgm_is_installed_may_not_be_known():
    node = msgspec.structs.replace(gpu_node(1), gpu_system=unknown("NVML did not answer"))
    found = diagnosed(FakeSession(), node, "normal", Speed(level="normal", seconds=1.0), math.inf)
    assert "not known" in peek(found, "dcgm_failures").why
