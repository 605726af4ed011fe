"""Are a node's own collectives run, checked and read? Ranks of GLOO on this machine: the code path, not its speed."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from diag.facts.node import Node
from diag.facts.record import peek
from diag.facts.software import Package, Setting
from diag.facts.speed import Lost, NodeCollectives, Speed
from diag.remote.climb import climb, rung
from diag.remote.hearing import Hearing, Measured, Weighed
from diag.remote.node_collectives import KINDS, Told, among, groups, measure, parts, run, share, together
from diag.remote.node_times import busbw, communicators, left_out, times
from diag.remote.node_times import gpus as gpus_of
from diag.remote.session import Session
from diag.units import GIB, KIB, MIB
from diag.wishes import EngineEnvironment
from tests.checks.machines import gpu_node
from tests.remote.agents import Workshop, workshop
from tests.remote.jobs import facts

__all__ = ["workshop"]
DATA = Path(__file__).parents[1] / "data" / "nccl"
pytestmark = pytest.mark.torch

SIZES = (KIB, 64 * KIB)
NVLS_OFF = EngineEnvironment(name="sglang 0.5.23", variables={"NCCL_NVLS_ENABLE": "0"})


@pytest.fixture
def here(workshop: Workshop) -> tuple[Session, Node]:
    session = workshop.session()
    (node,) = facts({"n1": session})
    return session, node


def test_every_kind_is_run_and_right_under_both_environments(here):
    session, node = here
    found = together(session, among(node, 2), node, NVLS_OFF, sizes=SIZES, until=time.monotonic() + 120)
    assert (found.backend, found.world_size) == ("gloo", 2)
    assert {(row.collective, row.environment) for row in found.times} >= {
        ("all_reduce", "engine"),
        ("all_reduce", "default"),
    }
    told = {row.collective for row in found.times}
    assert {"all_reduce", "all_gather", "broadcast"} <= told <= set(KINDS)
    assert all(row.verified and not row.captured for row in found.times)
    assert all(time_s > 0 for row in found.times for time_s in row.times_s)
    assert {row.size_bytes for row in found.times} == set(SIZES)
    assert found.engine == "sglang 0.5.23"
    assert found.engine_variables == (("NCCL_NVLS_ENABLE", "0"),)
    assert "gloo, 2 ranks, busbw" in found.summary
    assert peek(found, "log").why.startswith("no log of NCCL")


@pytest.mark.parametrize(("ranks", "sizes"), [(4, [2, 4]), (3, [2, 3])])
def test_groups_of_ranks_sum_among_themselves_and_weigh_nothing_on_a_cpu(here, ranks, sizes):
    """Of three ranks two form the group of two; a wrong sum would end the job."""
    session, node = here
    told = run(session, (node, among(node, ranks)), {"kinds": [], "sizes": [], "log": "", "groups": sizes}, {}, 60)
    assert told.finished
    assert groups(ranks) == sizes
    weighed = [told.heard.communicators[rank] for rank in range(ranks)]
    assert {one.grown for one in weighed} == {None}
    assert [sorted(one.sizes) for one in weighed] == [
        sizes if rank < ranks // 2 * 2 else [ranks] for rank in range(ranks)
    ]
    assert communicators(told.heard) == ()


def test_a_communicator_is_weighed_as_the_only_one_of_its_process():
    heard = Hearing(replace(among(gpu_node(1), 4), ranks=(4,)))
    heard.communicator_bytes = dict.fromkeys(range(4), 600 * MIB)
    heard.communicators = {rank: Weighed(grown=100 * MIB, sizes={2: 150 * MIB, 4: 300 * MIB}) for rank in range(3)}
    assert communicators(heard) == ((2, 550 * MIB), (4, 700 * MIB))
    heard.communicators[3] = Weighed(grown=100 * MIB, sizes={2: 180 * MIB, 4: 290 * MIB})
    assert communicators(heard) == ((2, 590 * MIB), (4, 700 * MIB)), "the rank that has least left decides"


@pytest.mark.parametrize(("ranks", "sizes"), [(1, []), (2, [2]), (6, [2, 4, 6]), (8, [2, 4, 8]), (16, [2, 4, 8, 16])])
def test_groups_are_those_that_engines_form(ranks, sizes):
    assert groups(ranks) == sizes


def test_what_is_set_for_the_engine_reaches_every_rank(here):
    session, node = here
    told = run(session, (node, among(node, 2)), {"kinds": [], "sizes": [], "log": ""}, NVLS_OFF.variables, 40)
    assert told.finished
    assert told.heard.environment["NCCL_NVLS_ENABLE"] == "0"
    assert told.heard.environment["NCCL_SOCKET_IFNAME"] == "=lo"
    assert told.heard.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_job_that_does_not_come_through_is_told_with_its_reason(here):
    session, node = here
    told = run(
        session,
        (node, among(node, 2)),
        {"kinds": KINDS, "sizes": [KIB], "log": ""},
        {"GLOO_SOCKET_IFNAME": "none0"},
        40,
    )
    assert not told.finished
    assert told.summary


def test_the_log_of_every_rank_is_told_and_kept_as_it_was(here, tmp_path, monkeypatch):
    """GLOO writes none: the ranks find one of NCCL's where theirs would be."""
    session, node = here
    for rank in (0, 1):
        (tmp_path / f"nccl.{rank}").write_text((DATA / "hgx-2.27.3.log").read_text() + f"line of {rank}\n")
    wish = {"kinds": [], "sizes": [], "log": str(tmp_path / "nccl")}
    told = run(session, (node, among(node, 2)), wish, {}, 40)
    assert [lines[-1] for _, lines in sorted(told.heard.logs.items())] == ["line of 0", "line of 1"]
    kept: list[str] = []
    monkeypatch.setattr("diag.remote.node_collectives.run", lambda *_: told)
    together(session, among(node, 2), node, EngineEnvironment(), sizes=(), until=time.monotonic(), keep=kept.append)
    assert kept[0].endswith("line of 1")
    assert "NCCL version" in kept[0]


def test_the_ladder_runs_its_steps_and_stops_when_a_step_tells(here, monkeypatch):
    session, node = here
    monkeypatch.setattr("diag.remote.climb.RUNG_SIZES", (KIB, 64 * KIB))
    monkeypatch.setattr("diag.remote.climb.among", lambda one: among(one, 2))
    nothing = together(session, among(node, 2), node, EngineEnvironment(), sizes=SIZES, until=time.monotonic() + 120)
    engine = (("NCCL_CUMEM_ENABLE", "0"),)
    found = climb(session, node, msgspec.structs.replace(nothing, engine_variables=engine), None, seconds=110)
    assert [rung.step for rung in found.ladder][:2] == ["default", "variables off"]
    assert all(rung.busbw_bytes_per_s and rung.latency_s and rung.verified and rung.known for rung in found.ladder)
    assert [rung.variables for rung in found.ladder][:2] == [engine, ()]


@pytest.mark.parametrize(
    ("at_s", "known"), [({0: 20.0, 1: 21.0}, True), ({0: 20.0, 1: 39.0}, False), ({0: 20.0}, False)]
)
def test_a_rung_that_came_not_to_its_first_collective_in_time_is_not_known(at_s, known):
    heard = Hearing(among(gpus(2)))
    for rank, seconds in at_s.items():
        heard.phases[rank] = [("spawned", 1.0), ("initialised", seconds)]
    told = Told(heard=heard, summary="not done after 38 s", finished=False)
    assert rung("default", {}, told, 2, 40.0).known is known


def test_after_a_wedge_no_collective_is_begun(here):
    session, node = here
    hung = Speed(
        level="normal", seconds=1.0, lost=(Lost(topic="p2p", gpus=(0, 1), how="killed", why="no end within 11 s"),)
    )
    assert peek(_holder(measure(session, node, hung, EngineEnvironment())), "collectives").why.startswith(
        "not run after this: gpu:0 and gpu:1 hung: "
    )


def test_the_ladder_begins_no_step_that_does_not_fit_into_its_time(here):
    session, node = here
    nothing = NodeCollectives(backend="nccl", world_size=2)
    assert climb(session, node, nothing, None, seconds=5).ladder == ()


def test_after_a_newcomer_no_collective_is_begun(here):
    session, node = here
    ended = Speed(level="normal", seconds=1.0, stopped="another process began to use a GPU (pid 77)")
    why = peek(_holder(measure(session, node, ended, EngineEnvironment())), "collectives").why
    assert why == "not run after this: another process began to use a GPU (pid 77)"


def _holder(collectives: object) -> Speed:
    return Speed(level="normal", seconds=0.0, collectives=collectives)


def test_a_size_counts_once_all_ranks_told_it_and_is_right_where_all_say_so(here):
    _, node = here
    heard = Hearing(replace(among(node, 2)))
    row = Measured(collective="all_reduce", captured=False, size_bytes=1000, times_s=(0.5, 0.25, 0.25))
    heard.measured = {0: [row]}
    assert times(heard, 2, "engine") == []
    slower = Measured(collective="all_reduce", captured=False, size_bytes=1000, times_s=(0.1, 0.5, 0.5), verified=False)
    heard.measured[1] = [slower]
    (found,) = times(heard, 2, "engine")
    assert found.times_s == (0.5, 0.5, 0.5)
    assert found.busbw_bytes_per_s == 2000.0
    assert not found.verified


def test_what_cannot_be_had_is_left_out_with_its_reason_and_its_sizes(here):
    _, node = here
    heard = Hearing(among(node, 2))
    why = "capture is not supported"
    rows = [Measured(collective="all_gather", captured=True, size_bytes=size, why=why) for size in (KIB, MIB)]
    none = Measured(collective="vllm_custom", captured=False, size_bytes=0, why="disabled here")
    heard.measured = {0: [*rows, none], 1: [*rows, none]}
    assert left_out(heard, "default") == [
        ("all_gather in a CUDA graph under the library's defaults of 1.0 KiB to 1.0 MiB", why),
        ("vLLM's custom all-reduce under the library's defaults", "disabled here"),
    ]


def test_a_job_leaves_the_later_ones_what_they_need():
    log, all_kinds, defaults, vllm = parts(among(gpus(8)), with_vllm(gpus(8)), NVLS_OFF, SIZES)
    assert share([log, all_kinds, defaults, vllm], 120) == 45
    assert share([all_kinds, defaults, vllm], 70) == 25
    assert share([defaults, vllm], 20) == 15
    assert (vllm.what, vllm.least_s) == ("vLLM's own all-reduces", 30)


def with_vllm(node: Node) -> Node:
    vllm = Package(name="vllm", version="0.11.0")
    return msgspec.structs.replace(node, software=msgspec.structs.replace(node.software, packages=(vllm,)))


def test_what_no_time_is_left_for_has_its_reason(here):
    session, node = here
    found = together(session, among(node, 2), node, NVLS_OFF, sizes=SIZES, until=time.monotonic() + 16)
    assert found.left_out[0] == ("the collectives", found.left_out[0][1])
    assert found.left_out[0][1].startswith("no time was left: ")
    assert [what for what, _ in found.left_out] == ["the collectives", "all_reduce under the library's defaults"]
    assert found.summary.startswith("gloo, 2 ranks; the collectives: no time was left")


def test_after_a_job_that_failed_none_is_run_and_each_has_its_reason(here):
    session, node = here
    unusable = EngineEnvironment(name="x", variables={"GLOO_SOCKET_IFNAME": "none0"})
    found = together(session, among(node, 2), node, unusable, sizes=SIZES, until=time.monotonic() + 120)
    assert [what for what, _ in found.left_out] == ["the collectives", "all_reduce under the library's defaults"]
    assert all(why == f"not run after this: {found.summary}" for _, why in found.left_out)


def test_sizes_that_no_time_is_left_for_are_left_out_and_the_job_ends_well(here):
    session, node = here
    seconds = 12
    told = run(session, (node, among(node, 2)), {"kinds": KINDS, "sizes": (KIB, 64 * MIB, GIB), "log": ""}, {}, seconds)
    assert told.finished
    assert any("no time was left for it" in why for _, why in left_out(told.heard, "engine"))


def test_the_gpu_of_a_rank_is_known_by_its_uuid_else_by_what_cuda_shows():
    node, heard = gpus(8), Hearing(among(gpus(2)))
    heard.hear({"rank": 0, "phase": "first_collective", "gpu": node.gpus[4].uuid})
    heard.hear({"rank": 1, "phase": "first_collective", "gpu": node.gpus[3].uuid})
    assert gpus_of(heard, node, 2) == (4, 3)
    silent = Hearing(among(gpus(2)))
    assert gpus_of(silent, node, 2) == ()
    some = Setting(name="CUDA_VISIBLE_DEVICES", value="3,4", source="environment")
    assert gpus_of(silent, msgspec.structs.replace(node, settings=(*node.settings, some)), 2) == (3, 4)


def test_one_gpu_is_a_rank_of_nccl_and_several_are_as_many():
    assert (among(gpus(1)).backend, among(gpus(1)).ranks) == ("nccl", (1,))
    assert (among(gpus(4)).backend, among(gpus(4)).ranks) == ("nccl", (4,))
    assert among(gpus(4)).places[0].address == "127.0.0.1"


def gpus(count: int) -> Node:
    plain = tuple(one for one in gpu_node(1).settings if one.name != "CUDA_VISIBLE_DEVICES")
    return msgspec.structs.replace(gpu_node(1), gpus=gpu_node(1).gpus[:count], settings=plain)


@pytest.mark.parametrize(
    ("kind", "share"),
    [("all_reduce", 1.75), ("all_gather", 0.875), ("reduce_scatter", 0.875), ("all_to_all", 0.875), ("broadcast", 1.0)],
)
def test_busbw_is_that_of_nccl_tests(kind, share):
    assert busbw(kind, 8, 1000, 1.0) == 1000 * share
