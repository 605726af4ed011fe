"""Can a fact that is not known pass for a healthy one? Each is taken away in turn, from healthy and faulty nodes."""

from __future__ import annotations

import functools
import os
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import msgspec
import pytest

from diag import judge
from diag.facts import record
from diag.facts.network import Resolution
from diag.facts.node import Node, Reach
from diag.facts.record import Record, peek
from diag.facts.snapshot import Snapshot
from diag.facts.software import Setting
from diag.facts.verdict import Verdict
from diag.outcomes import Hearing, Question
from tests.checks.changes import Change, both, item, more, named, of_cluster, on, without
from tests.checks.healthy import gpu_cluster
from tests.checks.machines import gpu_node
from tests.checks.pair import Pair
from tests.checks.pairs import PAIRS
from tests.checks.removals import GONE, holders, removals

FACTS = dict(removals(gpu_node(1)))


def outcomes(verdicts: Collection[Verdict], node: str | None) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for verdict in verdicts:
        if verdict.node == node:
            found[verdict.check].add(verdict.outcome)
    return found


@pytest.fixture
def reads(monkeypatch) -> dict[tuple[int, str], set[str]]:
    """Which checks read or looked at a field: (id of the record, field) -> checks."""
    seen: dict[tuple[int, str], set[str]] = defaultdict(set)

    def note(held: Record, name: str) -> None:
        running = os.environ.get("PYTEST_CURRENT_TEST", "")
        seen[id(held), name].add(running.partition("::check_")[2].partition(" ")[0])

    def read(held: Record, name: str, plain: Any = Record.__getattribute__) -> Any:
        note(held, name)
        return plain(held, name)

    def look(held: Record, name: str, plain: Any = record.peek) -> Any:
        note(held, name)
        return plain(held, name)

    monkeypatch.setattr(Record, "__getattribute__", read)
    monkeypatch.setattr(record, "peek", look)
    return seen


def test_no_check_passes_that_used_a_fact_which_is_gone(reads):
    """As many nodes as facts, each without one of them: every check still has a majority to compare with."""
    healthy = gpu_cluster(len(FACTS))
    nodes = tuple(remove(node) for node, remove in zip(healthy.nodes, FACTS.values(), strict=True))
    verdicts = judge.judge(msgspec.structs.replace(healthy, nodes=nodes)).verdicts
    unused = set()
    for node, path in zip(nodes, FACTS, strict=True):
        ids, field = holders(node, path)
        users = set().union(*(reads[held, field] for held in ids)) - {""}
        passed = {check for check, found in outcomes(verdicts, peek(node, "name")).items() if "passed" in found}
        assert not users & passed, f"without {path}"
        if not users:
            unused.add(path)
    assert len(FACTS) - len(unused) > 40, unused


TOPICS = {field.name: GONE for field in msgspec.structs.fields(Node) if "Missing" in str(field.type)}
WITHOUT_FACTS = {"named_interface_exists", "gpu_is_as_fast_as_it_was"}
"""What does not apply for a reason that stands in the inventory or the command."""


@pytest.mark.parametrize("reach", ["answered", "node_unreachable"])
def test_no_check_passes_on_a_node_of_which_nothing_is_known(reach):
    silent = both(
        on("gpu02", reach=Reach(outcome=reach), **TOPICS), of_cluster(links=GONE, collective=GONE, resolutions=GONE)
    )
    found = outcomes(judge.judge(silent(gpu_cluster())).verdicts, "gpu02")
    assert found.keys() > WITHOUT_FACTS
    assert {check for check, each in found.items() if each != {"not_measured"}} <= WITHOUT_FACTS


MEASURED_TOGETHER = {
    "links": ["link_is_as_fast_as_the_others", "path_passes_full_packets", "ports_are_open_between_nodes"],
    "collective": ["every_rank_comes_through", "collective_finishes", "sums_are_right", "busbw_is_near_line_rate"],
    "resolutions": ["peers_resolve_its_hostname", "no_peer_resolves_its_hostname_elsewhere"],
}


@pytest.mark.parametrize("fact", MEASURED_TOGETHER)
def test_no_check_of_several_nodes_passes_without_what_was_measured_together(fact):
    verdicts = judge.judge(of_cluster(**{fact: GONE})(gpu_cluster())).verdicts
    concerned = [verdict for verdict in verdicts if verdict.check in MEASURED_TOGETHER[fact]]
    assert {verdict.outcome for verdict in concerned} == {"not_measured"}


WRONG_ROWS = {"peers_resolve_its_hostname": (), "no_peer_resolves_its_hostname_elsewhere": ("127.0.1.1",)}


@pytest.mark.parametrize("check", WRONG_ROWS)
def test_a_peer_whose_resolver_is_silent_leaves_the_others_answers_not_enough(check):
    silent = Resolution(name="gpu02", addresses=GONE, nodes=("gpu03",))
    wrong = Resolution(name="gpu02", addresses=WRONG_ROWS[check], nodes=("gpu04",))
    of_gpu02 = functools.partial(_one_outcome, check, "gpu02")
    assert of_gpu02(of_cluster(resolutions=more(silent))) == "not_measured"
    assert of_gpu02(of_cluster(resolutions=more(silent, wrong))) in {"failed", "advice"}


def _one_outcome(check: str, node: str, change: Change) -> str:
    (outcome,) = (verdict.outcome for verdict in asked(check, change(gpu_cluster())) if verdict.node == node)
    return outcome


@pytest.mark.parametrize("check", ["nccl_settings_are_the_same_on_all_nodes", "allocator_lets_gpus_share_memory"])
def test_a_settings_file_that_was_not_read_is_not_an_empty_one(check):
    closed = Setting(name="", value=GONE, source="/etc/nccl.conf")
    unset = without(named("PYTORCH_CUDA_ALLOC_CONF"))
    change = on("gpu02", settings=lambda rows: (*unset(rows), closed))
    assert _one_outcome(check, "gpu02", change) == "not_measured"


class Listener(Hearing):
    """Keeps the questions instead of asking them."""

    def __init__(self) -> None:
        super().__init__(gpu_cluster(1))
        self.questions: dict[str, Question] = {}

    def ask(self, question: Question) -> bool:
        self.questions[question.check.id] = question
        return True


@functools.cache
def questions() -> dict[str, Question]:
    listener = Listener()
    judge._run(listener, (), "", exitfirst=False)
    return listener.questions


def asked(check: str, cluster: Snapshot) -> list[Verdict]:
    hearing = Hearing(cluster)
    hearing.ask(questions()[check])
    return hearing.verdicts


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair.check}: {pair.found}")
def test_a_failure_does_not_pass_when_a_fact_goes(pair: Pair):
    faulty = pair.change(pair.given(pair.cluster()))
    for node in faulty.nodes:
        for path, remove in removals(node) if node.name in pair.named or pair.named == (None,) else ():
            cluster = of_cluster(nodes=item(named(node.name), remove))(faulty)
            left = {verdict.outcome for verdict in asked(pair.check, cluster) if verdict.node in (node.name, None)}
            assert left & {"failed", "advice", "not_measured"}, f"without {path}: {left}"
