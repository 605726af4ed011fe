"""What does one check file make of a Snapshot? Each test writes the checks of one small folder and judges with them."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from diag.errors import DiagError
from diag.facts.record import Missing
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import Verdict
from diag.judge import catalogue, judge
from tests.checks.changes import having, item, of_cluster, on
from tests.checks.healthy import cpu_cluster, gpu_cluster

HEAD = """
import pytest
from diag.facts.record import NotMeasured
from diag.facts.verdict import finding
"""


@pytest.fixture
def say(tmp_path):
    """``say("def check_x(node): …", cluster)`` -> the verdicts of these checks alone."""

    def verdicts(text: str, cluster: Snapshot | None = None) -> list[Verdict]:
        folder = write(tmp_path, text)
        judged = judge(gpu_cluster(2) if cluster is None else cluster, folders=[folder], keyword="mine")
        return list(judged.verdicts)

    return verdicts


def write(tmp_path: Path, text: str, name: str = "mine.py") -> Path:
    folder = tmp_path / "own"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(HEAD + textwrap.dedent(text))
    return folder


def short(verdicts: list[Verdict]) -> list[tuple[str | None, str | None, str]]:
    return [(verdict.node, verdict.subject, verdict.outcome) for verdict in verdicts]


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


def test_a_check_says_nothing_where_it_does_not_apply(say):
    found = say("""
        @pytest.mark.applies(lambda node: node.name == "gpu02", reason="only the second")
        def check_mine(node): assert False
    """)
    assert [(v.outcome, v.node) for v in found] == [("skipped", "gpu01"), ("failed", "gpu02")]
    assert found[0].summary == "only the second"


def test_a_check_that_its_author_skips_is_skipped_on_every_node(say):
    found = say("@pytest.mark.skip(reason='until the move')\ndef check_mine(node): assert False")
    assert [(v.node, v.outcome, v.summary) for v in found] == [
        ("gpu01", "skipped", "until the move"),
        ("gpu02", "skipped", "until the move"),
    ]


def test_the_reason_is_that_of_the_first_condition_written(say):
    found = say("""
        @pytest.mark.applies(lambda cluster: False, reason="first")
        @pytest.mark.applies(lambda cluster: False, reason="second")
        def check_mine(cluster): pass
    """)
    assert found[0].summary == "first"


def test_what_needs_a_failed_check_is_not_measured_on_that_node_only(say):
    found = say("""
        @pytest.mark.needs("check_mine_root")
        def check_mine_a(node): assert False
        def check_mine_root(node): assert node.name != "gpu01"
    """)
    assert [(v.check, v.node, v.outcome) for v in found] == [
        ("mine_root", "gpu01", "failed"),
        ("mine_root", "gpu02", "passed"),
        ("mine_a", "gpu01", "not_measured"),
        ("mine_a", "gpu02", "failed"),
    ]
    assert found[2].summary == "needs mine_root, which failed"


def test_of_the_same_kind_of_part_only_the_one_that_failed_stops_what_needs_it(say):
    found = say(
        """
        def check_mine_a(gpu): assert gpu.index != 1
        @pytest.mark.needs("check_mine_a")
        def check_mine_b(gpu): pass
        """,
        on("gpu01", gpus=lambda gpus: gpus[:2])(gpu_cluster(1)),
    )
    assert [v.outcome for v in found if v.check == "mine_b"] == ["passed", "not_measured"]


def test_what_the_whole_cluster_needs_must_hold_on_every_node(say):
    found = say("""
        def check_mine_a(node): assert node.name != "gpu02"
        @pytest.mark.needs("check_mine_a")
        def check_mine_b(cluster): pass
        @pytest.mark.needs("check_mine_b")
        def check_mine_c(node): pass
    """)
    assert [v.outcome for v in found if v.check != "mine_a"] == ["not_measured"] * 3


def test_a_needed_check_that_was_not_selected_is_taken_to_hold(tmp_path):
    folder = write(
        tmp_path,
        """
        def check_other(node): assert False
        @pytest.mark.needs("check_other")
        def check_mine(node): pass
        """,
        name="some.py",
    )
    assert {v.outcome for v in judge(gpu_cluster(1), folders=[folder], keyword="mine").verdicts} == {"passed"}


def test_an_exception_breaks_the_check_and_says_where(say):
    found = say("def check_mine(node):\n    return 1 / (node.limits.nofile_hard * 0)")
    assert [v.outcome for v in found] == ["broken", "broken"]
    assert found[0].summary == "own/mine.py:6: ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def check_mine(): pass", "names no subject"),
        (
            "def check_mine(nodes): pass",
            "own/mine.py: names no subject: expected an argument among cluster, peers, node",
        ),
        ("def check_mine(node, floor): pass", "fixture 'floor' not found"),
        ("def check_mine(gpu, interface): pass", "names gpu and interface"),
        ("@pytest.fixture\ndef of(node): return node\ndef check_mine(node, of): pass", "fixture 'of' asks for 'node'"),
        ("@pytest.mark.cause('bad_luck')\ndef check_mine(node): pass", "expected one id of diag.facts.causes"),
        ("@pytest.mark.needs('check_nothing')\ndef check_mine(node): pass", "needs check_nothing, which is nowhere"),
        ("@pytest.mark.applys\ndef check_mine(node): pass", "'applys' not found in `markers`"),
        ("def check_mine(node) pass", "SyntaxError"),
        ("async def check_mine(node): assert False", "is no plain function"),
        ("def check_mine(node): yield", "yield"),
        ("def check_mine(cluster): return len(cluster.nodes) > 7", "returned False: a check asserts"),
        ("@pytest.mark.applies(lambda node: True)\ndef check_mine(node): pass", "own/mine.py"),
        ("def check_mine(cluster): raise SystemExit(0)", "SystemExit: 0"),
        ("import absent_module", "No module named 'absent_module'"),
    ],
)
def test_a_check_that_makes_no_sense_is_broken_in_one_clear_line(say, text, why):
    (found,) = say(text)
    assert (found.check, found.node, found.outcome) == ("mine", None, "broken")
    assert why in found.summary
    assert "\n" not in found.summary


def test_a_broken_file_hides_no_other(tmp_path):
    write(tmp_path, "def check_mine(node): pass")
    folder = write(tmp_path, "import absent_module", name="mine_too.py")
    verdicts = judge(gpu_cluster(1), folders=[folder], keyword="mine").verdicts
    assert [(v.check, v.outcome) for v in verdicts] == [("mine", "passed"), ("mine_too", "broken")]


def test_a_fixture_that_asks_for_no_subject_may_be_used(say):
    found = say("""
        @pytest.fixture
        def floor(): return 2048
        def check_mine(floor, node): assert node.limits.nofile_hard >= floor
    """)
    assert [v.outcome for v in found] == ["passed", "passed"]


def test_a_parametrized_check_is_a_check_for_each_value(say):
    found = say("""
        @pytest.mark.parametrize("floor", [1, 10**9])
        def check_mine(node, floor): assert node.limits.nofile_hard >= floor
    """)
    assert [(v.check, v.outcome) for v in found[::2]] == [("mine[1]", "passed"), ("mine[1000000000]", "failed")]


def test_peers_of_one_node_are_nobody(say):
    found = say("def check_mine(node, peers): assert peers.by(lambda node: node.name).agree(node)", gpu_cluster(1))
    assert (found[0].outcome, found[0].summary) == ("skipped", "one node: nothing to compare with")


def test_two_files_with_the_same_check_are_refused(tmp_path):
    write(tmp_path, "def check_mine(node): pass")
    folder = write(tmp_path, "def check_mine(node): pass", name="other.py")
    with pytest.raises(DiagError, match=r"check_mine is also in own/mine\.py"):
        judge(gpu_cluster(1), folders=[folder])


def test_what_a_check_says_of_itself(tmp_path):
    folder = write(
        tmp_path,
        '''
        @pytest.mark.optional
        @pytest.mark.cause("memlock_limit")
        @pytest.mark.needs("check_open_files_limit_is_high_enough")
        def check_mine_is_high(gpu):
            """It matters,
            and much.

            Do: raise it
            soon.
            $ ssh {node} ulimit -l
            """
        ''',
    )
    (check,) = [check for check in catalogue([folder]) if check.id == "mine_is_high"]
    assert check.about.title == "mine is high"
    assert check.about.why == "It matters, and much."
    assert check.about.do == "raise it soon.\n$ ssh {node} ulimit -l"
    assert (check.file, check.part, check.cause) == ("own/mine.py", "gpu", "memlock_limit")
    assert (check.optional, check.advice) == (True, False)
    assert check.needs == ("open_files_limit_is_high_enough",)


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
