"""Which all-reduces are made over which nodes? The records are those that a first one leaves; nothing is started."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diag.collecting import Scene, Work, again, excused, first, gloo
from diag.facts.collective import Collective
from diag.facts.record import Missing, unknown
from diag.wishes import Wishes
from tests.checks.machines import cpu_node
from tests.remote.test_retry import ended


def scene(count: int, *, without: tuple[str, ...] = (), **wishes: Any) -> Scene:
    names = [f"n{number}" for number in range(count)]
    there = [name for name in names if name not in without]
    return Scene(
        nodes={name: cpu_node(int(name[1:])) for name in there},
        sessions=dict.fromkeys(there),  # type: ignore[arg-type] - nobody asks them
        excluded=dict.fromkeys(without, "not reached: it answers no more"),
        wishes=Wishes(**wishes),
    )


NO_LINKS = unknown("--pairs none")


def limit_s(work: Work) -> float:
    return work.call.keywords["deadline_s"]  # type: ignore[union-attr]


def test_the_first_is_over_all_nodes_that_may_be_loaded():
    work = first(scene(3, without=("n1",)), NO_LINKS)
    assert (work.stage, work.nodes, limit_s(work)) == ("collectives", ("n0", "n2"), 90)


def cut_short(limit_s: float, *outcomes: str, **changes: Any) -> Collective:
    found = msgspec.structs.replace(ended(*outcomes), **changes)
    excuse = excused(found, Wishes(deadlines_s={"collectives": limit_s}))
    assert isinstance(excuse, Collective)
    return excuse


def test_a_deadline_that_the_user_cut_short_is_nobodys_fault():
    found = cut_short(1, "stopped", "stopped")
    assert found.stopped == "its deadline of 1 s was over, where 90 s are usual; nothing was seen to be wrong"


def test_what_went_wrong_within_a_short_deadline_stays_wrong():
    waiting = tuple(
        msgspec.structs.replace(rank, into="size_1024", into_s=9.0) for rank in ended("stopped", "stopped").ranks
    )
    assert not cut_short(90, "stopped", "stopped").stopped
    assert not cut_short(20, "stopped", "rank_frozen").stopped
    assert not cut_short(20, "stopped", "stopped", ranks=waiting).stopped
    assert not cut_short(20, "done", "done", finished=True).stopped


def test_level_passive_starts_none():
    work = first(scene(3, level="passive"), NO_LINKS)
    assert (work.call, work.answer) == (None, Missing("level passive starts no collective"))


def test_the_second_is_over_those_that_were_not_at_fault():
    work = again(scene(4), ended("stopped", "stopped", "rank_frozen", "stopped"))
    assert (work.stage, work.nodes) == ("retry", ("n0", "n1", "n3"))
    assert work.call.keywords["excluded"] == {"n2": "at fault before: rank 2 frozen"}


def test_a_node_that_was_lost_or_left_out_before_takes_no_part_in_the_second():
    before = ended("agent_silent", "stopped", "stopped", "stopped", excluded=(("n4", "refused"),))
    assert again(scene(5, without=("n0",)), before).nodes == ("n1", "n2", "n3")


@pytest.mark.parametrize(
    ("deadlines", "seconds"), [({}, 45), ({"collectives": 30.0}, 30), ({"retry": 20.0}, 20), ({"retry": 120.0}, 90)]
)
def test_the_second_gets_its_own_time_but_no_more_than_the_first(deadlines, seconds):
    assert limit_s(again(scene(3, deadlines_s=deadlines), ended("stopped", "rank_died", "stopped"))) == seconds


def test_where_all_came_through_there_is_no_second():
    assert again(scene(2), ended("done", "done", finished=True)) == Work()


def test_one_node_alone_is_no_second():
    work = again(scene(2), ended("stopped", "rank_died"))
    assert work.answer == Missing("without n1 too few nodes are left: n0")


def test_what_was_not_measured_is_not_repeated():
    work = again(scene(2), unknown("n1: no torch"))
    assert work.answer == Missing("no all-reduce to repeat: n1: no torch")


def nccl(**fields: Any) -> Collective:
    return msgspec.structs.replace(ended("done", "done", "done", **fields), backend="nccl")


def test_beside_nccl_a_short_one_of_gloo_runs_over_the_same_nodes():
    work = gloo(scene(4), nccl(finished=True, excluded=(("n3", "no torch"),)))
    asked = work.call.keywords
    assert (work.stage, work.nodes, asked["backend"]) == ("gloo", ("n0", "n1", "n2"), "gloo")
    assert (asked["max_size_bytes"], asked["deadline_s"]) == (1 << 20, 30)
    assert gloo(scene(3, max_size_bytes=8192), nccl(finished=True)).call.keywords["max_size_bytes"] == 8192


def test_it_gets_no_more_than_the_first_left_of_its_time():
    before = msgspec.structs.replace(nccl(finished=True), seconds=70.0)
    assert limit_s(gloo(scene(3), before)) == 20
    late = gloo(scene(3), msgspec.structs.replace(before, seconds=85.0))
    assert late.answer == Missing("no time was left for it: 5 s of the collectives' deadline")


def test_where_the_all_reduce_was_gloos_there_is_no_other():
    assert gloo(scene(2), ended("done", "done", finished=True)) == Work()


def test_after_one_that_did_not_finish_or_never_began_gloo_is_not_tried():
    assert gloo(scene(3), nccl()).answer == Missing(
        "not run after an all-reduce that did not finish: not finished after 90 s"
    )
    assert gloo(scene(3), unknown("no torch")).answer == Missing("no all-reduce ran before it: no torch")
