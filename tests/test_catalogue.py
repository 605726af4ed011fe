"""What follows from a check's marks, arguments and docstring, and what is said of a check that makes no sense?"""

from __future__ import annotations

from functools import partial

import pytest

from diag.errors import DiagError
from diag.judge import catalogue, judge
from tests.checks.changes import on
from tests.checks.healthy import gpu_cluster
from tests.own_checks import verdicts_of, write


@pytest.fixture
def say(tmp_path):
    """``say("def check_mine(node): …", cluster)`` -> the verdicts of these checks alone."""
    return partial(verdicts_of, tmp_path)


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
