"""Does the page say what works without the nodes at fault, and who was not watched?"""

from __future__ import annotations

import msgspec
import pytest

from diag.facts.collective import Collective, Rank
from diag.facts.record import unknown
from diag.report.ink import Ink
from diag.report.survivors import survivor_lines, unwatched_lines
from tests.report import samples
from tests.report.test_page import Terminal, printed, shown


def lines(**fields: object) -> list[str]:
    snapshot = msgspec.structs.replace(samples.snapshot(), **fields)
    return survivor_lines(shown(snapshot=snapshot), Ink(Terminal(), width=140))


def survivors(**changes: object) -> Collective:
    first = samples.snapshot().collective
    names = ("gpu01", "gpu02")
    return msgspec.structs.replace(first, nodes=names, excluded=(("gpu03", "at fault before"),), **changes)


def test_who_was_left_out_and_what_the_others_reach():
    assert lines(without=survivors()) == [
        "without   gpu03: all-reduce of 2 nodes finishes, busbw 11.2 GB/s at 64.0 MiB"
    ]


def test_what_does_not_finish_either_says_why():
    died = Rank(rank=0, node="gpu01", local_rank=0, outcome="rank_died")
    again = survivors(finished=False, summary="gpu01: rank 0 died", ranks=(died,))
    assert lines(without=again) == ["without   gpu03: all-reduce of 2 nodes does not finish either: gpu01: rank 0 died"]


def test_what_only_found_no_time_is_not_called_a_failure():
    assert lines(without=survivors(finished=False, summary="not finished after 45.0 s")) == [
        "without   gpu03: all-reduce of 2 nodes works, but found no time for all sizes, busbw 11.2 GB/s at 64.0 MiB"
    ]


@pytest.mark.parametrize("without", [None, unknown("nobody to leave out")])
def test_where_nobody_was_left_out_nothing_is_said(without):
    assert lines(without=without) == []


def test_it_stands_beside_the_culprits():
    page = printed(snapshot=msgspec.structs.replace(samples.snapshot(), without=survivors()))
    assert page.index("culprits ") < page.index("without   gpu03") < page.index("exit 1")


def test_nodes_on_which_a_newcomer_would_not_be_seen_are_told_with_why():
    collective = samples.snapshot().collective
    hidden = (("gpu01", "pids are hidden"), ("gpu02", "pids are hidden"), ("gpu03", "not NVIDIA's"))
    snapshot = msgspec.structs.replace(
        samples.snapshot(), collective=msgspec.structs.replace(collective, unwatched=hidden)
    )
    assert unwatched_lines(shown(snapshot=snapshot), Ink(Terminal(), width=140)) == [
        "unwatched gpu[01-02]: who begins to use a GPU would not have ended our job: pids are hidden",
        "unwatched gpu03: who begins to use a GPU would not have ended our job: not NVIDIA's",
    ]
    assert "unwatched gpu03" in printed(snapshot=snapshot)


def test_where_all_are_watched_nothing_is_said():
    assert unwatched_lines(shown(snapshot=samples.snapshot()), Ink(Terminal(), width=140)) == []
