"""Is nothing called healthy that was not looked at, and who is to blame said last?"""

from __future__ import annotations

from typing import Any

import msgspec

from diag.facts.verdict import Culprit, Selection, Verdict
from diag.report.asking import asked_lines
from diag.report.ending import last_lines
from diag.report.shown import Shown
from diag.report.tally import tally
from tests.report import samples
from tests.report.test_page import Ink, Terminal, shown

PASSED = samples.verdict("mtu_is_uniform", "gpu01", "passed")
UNASKED = Verdict(
    check="gpu_has_full_pcie_width", node="gpu01", subject=None, outcome="not_measured", asked=False,
    summary="level quick makes no load",
)  # fmt: skip
UNKNOWN = samples.verdict("mtu_is_uniform", "gpu02", "not_measured", summary="needs root")
OPTIONAL = samples.verdict("no_new_xid", "gpu01", "not_measured", summary="needs root")
FAILED = samples.verdict("mtu_is_uniform", "gpu02", "failed")
ALL = Selection(asked=181, known=181)


def made(*verdicts: Verdict, snapshot: dict[str, Any] | None = None, **changes: Any) -> Shown:
    judged = msgspec.structs.replace(
        samples.verdicts(), verdicts=verdicts, **{"selection": ALL, "culprits": ()} | changes
    )
    of = msgspec.structs.replace(samples.snapshot(), nodes=(samples.node("gpu01", 1),), **snapshot or {})
    return shown(verdicts=judged, snapshot=of, plan=None, exit_status=0)


def end(of: Shown, width: int = 80) -> list[str]:
    return last_lines(of, tally(of.verdicts), Ink(Terminal(), width=width))


def test_healthy_is_who_was_looked_at_as_a_whole():
    assert end(made(PASSED)) == ["exit 0  healthy   ~/runs/latest"]
    assert end(made(PASSED, OPTIONAL)) == ["exit 0  healthy (1 optional check not measured)   ~/runs/latest"]


def test_what_was_not_asked_for_is_named_and_not_called_healthy():
    assert end(made(PASSED, UNASKED, snapshot={"level": "quick"})) == [
        "not looked at  gpus (level quick)",
        "exit 0  nothing wrong in what was looked at   ~/runs/latest",
    ]


def test_a_selection_is_named_and_not_called_healthy():
    assert end(made(PASSED, selection=Selection(keyword="mtu", asked=1, known=181))) == [
        "not looked at  180 of 181 checks (-k mtu)",
        "exit 0  nothing wrong in what was looked at   ~/runs/latest",
    ]


def test_what_is_ignored_is_said_to_be():
    assert "exit 0  failures ignored (--fail-on never)" in end(made(PASSED, FAILED, fail_on="never"))[0]
    assert "exit 0  what is not known ignored (--fail-on never)" in end(made(PASSED, UNKNOWN, fail_on="never"))[0]
    assert "exit 0  healthy" in end(made(PASSED, fail_on="never"))[0]


def test_without_a_node_that_is_the_reason():
    assert end(shown(snapshot=msgspec.structs.replace(samples.snapshot(), nodes=()), plan=None, exit_status=2)) == [
        "exit 2  no node: nothing was judged   ~/runs/latest"
    ]


def test_the_head_says_the_level_and_which_checks_were_asked():
    ink = Ink(Terminal(), width=80)
    assert asked_lines(made(PASSED), ink) == ["level        normal"]
    chosen = made(PASSED, selection=Selection(keyword="mtu", asked=1, known=181))
    assert asked_lines(chosen, ink)[1] == "asked for    1 of 181 checks (-k mtu)"


def culprit(cause: str, *nodes: str) -> Culprit:
    return Culprit(kind="node", nodes=nodes, cause=cause, summary="-", confidence=1.0)


def link(*ends: str) -> Culprit:
    return Culprit(kind="link", nodes=ends, cause="link_slow", summary="-", confidence=1.0)


def test_the_culprits_come_once_more_behind_a_plan():
    several = (culprit("node_slow", "gpu01"), culprit("node_slow", "gpu02"), culprit("cluster_clock"))
    of = made(FAILED, culprits=several)
    assert (
        end(msgspec.structs.replace(of, plan=samples.PLAN))[0]
        == "culprits  gpu[01-02] node_slow · cluster cluster_clock"
    )
    assert not any("culprits" in line for line in end(of))


def test_links_of_one_cause_stay_apart_and_accuse_no_end():
    links = [link("gpu01", "gpu02"), link("gpu03", "gpu04")]
    lines = end(msgspec.structs.replace(made(FAILED, culprits=tuple(links)), plan=samples.PLAN))
    assert lines[0] == "culprits  gpu01–gpu02, gpu03–gpu04 link_slow"
    many = tuple(link(f"gpu{number:02}", "gpu99") for number in range(5))
    lines = end(msgspec.structs.replace(made(FAILED, culprits=many), plan=samples.PLAN))
    assert lines[0].endswith("gpu02–gpu99 and 2 more link_slow")


def test_what_was_interrupted_or_ended_at_the_first_failure_is_not_called_healthy():
    assert end(made(PASSED, snapshot={"interrupted": True}))[0].startswith("exit 0  interrupted")
    stopped = made(PASSED, fail_on="never", selection=Selection(exitfirst=True, asked=3, known=181))
    assert end(stopped)[0] == "not looked at  178 of 181 checks (-x)"


def test_many_culprits_take_two_lines_at_the_end():
    many = tuple(culprit(f"cause_number_{number}", f"gpu{number:02}") for number in range(20))
    lines = end(msgspec.structs.replace(made(FAILED, culprits=many), plan=samples.PLAN))
    assert len(lines) == 3
    assert lines[1].endswith("15 more")


def test_a_burn_without_any_accelerator_says_that_nothing_was_burnt():
    nodes = (msgspec.structs.replace(samples.node("gpu01", 1), devices=()),)
    of = made(PASSED, snapshot={"level": "burn"})
    of = msgspec.structs.replace(of, snapshot=msgspec.structs.replace(of.snapshot, nodes=nodes))
    assert "burn: no accelerator on any node, so nothing was burnt" in asked_lines(of, Ink(Terminal(), width=80))[0]
