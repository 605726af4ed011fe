"""Does whoever watches a run see how far it is and whom it waits for?"""

from __future__ import annotations

import io
import re

from diag.report.live import Display, Stage


def test_a_plain_line_follows_each_stage():
    stream = io.StringIO()
    with Display(stream) as display:
        display.stage("reach", ["a", "b"])
        display.done("a")
        display.done("b")
        display.ended("")
        display.stage("collectives", ["a", "b"])
        display.done("a")
        display.ended("1 of 2 ranks came")
    lines = stream.getvalue().splitlines()
    assert re.fullmatch(r"reach {8}2/2 +0\.\d s", lines[0])
    assert re.fullmatch(r"collectives  1/2 +0\.\d s   1 of 2 ranks came", lines[1])


def test_who_is_waited_for_is_named():
    stage = Stage("facts", [f"gpu{number:02}" for number in range(1, 7)])
    assert "waiting" not in stage.line()
    stage.done("gpu01")
    assert stage.line().endswith("waiting for gpu[02-06]")
    assert stage.line().startswith("facts        1/6")
    unlike = Stage("facts", ["one.example", "two.example", "three.example", "four.example"])
    unlike.began -= 2
    assert unlike.line().endswith("waiting for one.example,three.example,two.example and 1 more")


def test_the_slowest_is_one_that_took_much_longer_than_the_others():
    stage = Stage("measure", ["a", "b", "c"])
    for node, took_s in (("a", 0.5), ("b", 0.6), ("c", 9.0)):
        stage.done(node)
        stage.took_s[node] = took_s
    assert stage.slowest() == "c"
    stage.took_s["c"] = 0.9
    assert stage.slowest() == ""


def test_a_node_that_reports_twice_or_is_not_of_the_stage_counts_once():
    stage = Stage("reach", ["a"])
    for node in ("a", "a", "stranger"):
        stage.done(node)
    assert stage.line().startswith("reach        1/1")


def test_a_terminal_gets_a_live_display_that_goes_when_the_page_comes(monkeypatch):
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Tty()
    with Display(stream) as display:
        display.stage("reach", ["gpu01", "gpu02"])
        display.done("gpu01")
        assert display.live is not None
        display.live.refresh()
        assert "waiting for gpu02" in stream.getvalue()
        display.done("gpu02")
        display.ended("")
    assert stream.getvalue().rstrip().endswith("\x1b[2K")


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")
    stream = Tty()
    with Display(stream) as display:
        display.stage("reach", ["a"])
        display.ended("")
    assert "\x1b" not in stream.getvalue()


def test_quiet_leaves_nothing():
    stream = io.StringIO()
    with Display(stream, quiet=True) as display:
        display.stage("reach", ["a"])
        display.ended("")
    assert stream.getvalue() == ""


def test_a_lost_node_is_not_counted_as_done_and_is_named_at_the_end():
    stage = Stage("reach", ("gpu01", "gpu02", "gpu03"))
    for node in ("gpu01", "gpu03"):
        stage.done(node)
    stage.done("gpu02", lost=True)
    stage.ended_s = 0.5
    assert "2/3" in stage.line()
    assert stage.line().endswith("without gpu02")


def test_every_stage_is_counted_out_of_all_selected_nodes_as_on_the_page():
    stream = io.StringIO()
    with Display(stream) as display:
        display.stage("reach", ["a", "b", "c"])
        for node in ("a", "b", "c"):
            display.done(node, lost=True)
        display.ended("")
        display.stage("facts", ())
        display.ended("")
        display.stage("judge", None)
        assert display.stages[-1].line().startswith("judge                 ")
        display.ended("")
    counts = [re.split(" {2,}", line)[:2] for line in stream.getvalue().splitlines()]
    assert counts == [["reach", "0/3"], ["facts", "0/3"], ["judge", "3/3"]]


def test_where_the_page_follows_in_the_same_place_no_stage_is_told_twice():
    stream = io.StringIO()
    with Display(stream, page_follows=True) as display:
        display.stage("reach", ["a"])
        display.done("a")
        display.ended("")
    assert stream.getvalue() == ""
