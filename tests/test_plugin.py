"""Whom is a check asked about, and what becomes of what it says? Each test writes the checks of one small folder."""

from __future__ import annotations

from functools import partial

import pytest

from diag.facts.record import Missing
from diag.facts.verdict import Verdict
from diag.judge import catalogue, judge
from tests.checks.changes import having, item, of_cluster, on
from tests.checks.healthy import cpu_cluster, gpu_cluster
from tests.own_checks import short, verdicts_of


@pytest.fixture
def say(tmp_path):
    """``say("def check_mine(node): …", cluster)`` -> the verdicts of these checks alone."""
    return partial(verdicts_of, tmp_path)


def test_a_check_of_a_node_is_asked_once_for_each_node(say):
    found = say("def check_mine(node): assert node.limits.nofile_hard > 1")
    assert short(found) == [("gpu01", None, "passed"), ("gpu02", None, "passed")]


def test_a_passed_verdict_carries_nothing_more(say):
    assert say("def check_mine(node): pass")[0] == Verdict(check="mine", node="gpu01", subject=None, outcome="passed")


@pytest.mark.parametrize(
    ("subject", "first", "count"),
    [
        ("gpu", "gpu:0", 16),
        ("device", "device:0000:18:00.0", 24),
        ("interface", "interface:lo", 8),
        ("filesystem", "filesystem:/dev/shm", 10),
    ],
)
def test_a_check_of_a_part_is_asked_for_each_of_them(say, subject, first, count):
    found = say(f"def check_mine({subject}): pass")
    assert len(found) == count
    assert short(found)[0] == ("gpu01", first, "passed")


def test_a_condition_of_the_node_is_asked_once_however_many_parts_it_has(say):
    found = say("""
        asked = []
        @pytest.mark.applies(lambda node: asked.append(node.name) is None, reason="never")
        def check_mine(gpu): pass
        def check_nodes(cluster): assert not asked, finding(" ".join(asked), "none")
    """)
    assert [verdict.outcome for verdict in found] == [*["passed"] * 16, "failed"]
    assert found[-1].found == "gpu01 gpu02"


def test_a_check_of_the_cluster_is_asked_once_and_names_no_node(say):
    assert short(say("def check_mine(cluster): assert len(cluster.nodes) == 2")) == [(None, None, "passed")]


def test_a_check_gets_the_node_of_a_part_and_the_cluster_beside_it_in_any_order(say):
    found = say("def check_mine(cluster, gpu, node): assert gpu in node.gpus and node in cluster.nodes")
    assert {verdict.outcome for verdict in found} == {"passed"}


def test_found_and_expected_are_those_of_the_finding_without_what_pytest_adds(say):
    found = say('def check_mine(node): assert node.limits.nofile_hard < 1, finding("1 thing", "none\\nat all")')
    assert (found[0].outcome, found[0].found, found[0].expected) == ("failed", "1 thing", "none at all")


def test_a_plain_assertion_says_what_pytest_saw(say):
    found = say("def check_mine(node): assert node.limits.nofile_hard == 7")
    assert (found[0].outcome, found[0].found) == ("failed", None)
    assert "1048576 == 7" in found[0].summary


def test_a_failing_assertion_of_advice_is_advice(say):
    assert short(say("@pytest.mark.advice\ndef check_mine(cluster): assert False")) == [(None, None, "advice")]


def test_a_fact_that_is_missing_is_not_measured_and_says_why(say):
    cluster = on("gpu02", limits=Missing("needs root"))(gpu_cluster(2))
    found = say("def check_mine(node): assert node.limits.nofile_hard", cluster)
    assert short(found) == [("gpu01", None, "passed"), ("gpu02", None, "not_measured")]
    assert found[1].summary == "needs root"


def test_a_check_may_say_itself_that_it_could_not_measure_or_does_not_apply(say):
    found = say("""
        def check_mine_one(cluster): raise NotMeasured("no second switch")
        def check_mine_two(cluster): pytest.skip("no switch")
    """)
    assert [(v.outcome, v.summary) for v in found] == [("not_measured", "no second switch"), ("skipped", "no switch")]


def test_a_node_whose_parts_are_not_known_has_one_verdict_without_a_subject(say):
    cluster = on("gpu02", gpus=Missing("NVML: driver not loaded"))(gpu_cluster(2))
    found = [verdict for verdict in say("def check_mine(gpu): pass", cluster) if verdict.node == "gpu02"]
    assert short(found) == [("gpu02", None, "not_measured")]
    assert found[0].summary == "NVML: driver not loaded"


def test_a_node_without_such_parts_has_one_verdict_that_says_so(say):
    found = say("def check_mine(gpu): pass", cpu_cluster(1))
    assert short(found) == [("node1", None, "skipped")]
    assert found[0].summary == "no accelerator"


def test_no_gpu_is_not_believed_where_the_bus_shows_accelerators(say):
    found = say("def check_mine(gpu): pass", on("gpu01", gpus=())(gpu_cluster(1)))
    assert found[0].outcome == "not_measured"
    assert "8 accelerators on the bus" in found[0].summary


def test_no_gpu_is_not_believed_where_the_bus_was_not_read(say):
    found = say("def check_mine(gpu): pass", on("node1", devices=Missing("no sysfs"))(cpu_cluster(1)))
    assert (found[0].outcome, found[0].summary) == ("not_measured", "no sysfs")


def test_an_exception_breaks_the_check_and_says_where(say):
    found = say("def check_mine(node):\n    return 1 / (node.limits.nofile_hard * 0)")
    assert [v.outcome for v in found] == ["broken", "broken"]
    assert found[0].summary == "own/mine.py:6: ZeroDivisionError: division by zero"


def test_peers_of_one_node_are_nobody(say):
    found = say("def check_mine(node, peers): assert peers.by(lambda node: node.name).agree(node)", gpu_cluster(1))
    assert (found[0].outcome, found[0].summary) == ("skipped", "one node: nothing to compare with")


def test_every_node_has_an_outcome_for_every_check_also_when_it_was_not_reached():
    cluster = on("gpu02", reach=having(outcome="node_unreachable", summary="connection refused"), agent=Missing("-"))
    judged = judge(cluster(gpu_cluster(3)))
    per_node = {check.id for check in catalogue() if check.per_node}
    for node in ("gpu01", "gpu02", "gpu03"):
        assert {verdict.check for verdict in judged.verdicts if verdict.node == node} == per_node
    lost = [verdict for verdict in judged.verdicts if verdict.node == "gpu02"]
    assert {(v.outcome, v.subject, v.summary) for v in lost} == {
        ("not_measured", None, "not reached: connection refused")
    }


def test_what_a_node_told_before_it_was_lost_is_judged():
    cluster = on("gpu02", reach=having(outcome="agent_silent"), limits=having(nofile_hard=1), gpus=Missing("lost"))
    found = {v.check: v for v in judge(cluster(gpu_cluster())).verdicts if v.node == "gpu02"}
    assert found["open_files_limit_is_high_enough"].outcome == "failed"
    assert found["gpu_memory_is_free"].outcome == "not_measured"


def test_parts_are_told_apart_by_node_and_subject(say):
    cluster = on("gpu02", gpus=item(3, having(mig=True)))(gpu_cluster(2))
    found = [v for v in say("def check_mine(gpu): assert not gpu.mig", cluster) if v.outcome == "failed"]
    assert short(found) == [("gpu02", "gpu:3", "failed")]


def test_a_cluster_without_a_collective_is_not_measured_for_the_reason_it_has(say):
    cluster = of_cluster(collective=Missing("no torch under python3"))(gpu_cluster(2))
    found = say("def check_mine(cluster): assert cluster.collective.finished", cluster)
    assert (found[0].outcome, found[0].summary) == ("not_measured", "no torch under python3")


ASKED = '@pytest.mark.asked(lambda cluster: cluster.level == "burn", reason="measured by level burn")\n'


def test_what_was_not_asked_for_says_so_once_a_node(say):
    found = say(ASKED + "def check_mine(gpu): assert False")
    assert short(found) == [("gpu01", None, "not_measured"), ("gpu02", None, "not_measured")]
    assert {(v.asked, v.summary) for v in found} == {(False, "measured by level burn")}


def test_who_needs_what_was_not_asked_for_is_judged_for_itself(say):
    text = (
        f'{ASKED}def check_mine_first(node): pass\n@pytest.mark.needs("check_mine_first")\ndef check_mine(node): pass'
    )
    assert [(v.check, v.outcome) for v in say(text)][2:] == [("mine", "passed"), ("mine", "passed")]


def test_what_was_not_asked_for_needs_no_reason_why_it_is_unknown(say):
    text = f"{ASKED}@pytest.mark.applies(lambda cluster: cluster.links.flows, reason='-')\ndef check_mine(node): pass"
    found = say(text, of_cluster(links=Missing("no link was measured"))(gpu_cluster(2)))
    assert {(v.asked, v.summary) for v in found} == {(False, "measured by level burn")}
