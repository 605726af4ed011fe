"""Does every check pass on a healthy cluster, and fail on exactly the one that is not?"""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from diag.facts.causes import CAUSES
from diag.facts.snapshot import Snapshot, load
from diag.facts.verdict import Verdict, Verdicts
from diag.judge import catalogue, judge
from tests.checks.changes import Change
from tests.checks.healthy import CLUSTERS, SNAPSHOTS
from tests.checks.pair import Pair
from tests.checks.pairs import PAIRS

pairs = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.check}: {pair.found}")


def of(check: str, verdicts: Verdicts) -> list[Verdict]:
    return [verdict for verdict in verdicts.verdicts if verdict.check == check]


def wrong(verdicts: Verdicts, *outcomes: str) -> list[Verdict]:
    return [verdict for verdict in verdicts.verdicts if verdict.outcome in outcomes]


@functools.cache
def healthy(cluster: Callable[[], Snapshot], given: Change) -> Verdicts:
    return judge(given(cluster()))


@pairs
def test_a_check_passes_where_all_is_well(pair: Pair):
    verdicts = healthy(pair.cluster, pair.given)
    assert {verdict.outcome for verdict in of(pair.check, verdicts)} - {"skipped"} == {"passed"}
    assert not wrong(verdicts, "failed", "advice", "broken", "not_measured")


@pairs
def test_a_check_fails_on_whom_it_should_and_nothing_else_does(pair: Pair):
    verdicts = judge(pair.change(pair.given(pair.cluster())))
    failed = [verdict for verdict in of(pair.check, verdicts) if verdict.outcome in ("failed", "advice")]
    assert tuple(verdict.node for verdict in failed) == pair.named
    assert all(pair.found in (verdict.found or "") and verdict.expected for verdict in failed), failed
    assert {verdict.check for verdict in wrong(verdicts, "failed", "broken")} <= {pair.check} | pair.also
    for culprit in verdicts.culprits:
        assert culprit.cause in CAUSES
        assert culprit.nodes or pair.named == (None,)
        assert culprit.kind in ("node", "link", "nic", "gpu", "setting")


def test_every_check_has_a_pair():
    assert {check.id for check in catalogue()} == {pair.check for pair in PAIRS}


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_recorded_cluster_is_the_one_that_is_made(name):
    assert load(SNAPSHOTS / name) == CLUSTERS[name](), "python -m tests.checks.healthy writes it"


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_recorded_healthy_cluster_is_healthy(name):
    assert judge(load(SNAPSHOTS / name)).exit_status == 0


def test_every_check_says_why_and_what_to_do_and_names_a_command():
    for check in catalogue():
        assert len(check.about.why) > 40, check.id
        sentence, command = check.about.do.splitlines()
        assert len(sentence) > 20, check.id
        assert command.startswith("$ "), check.id
