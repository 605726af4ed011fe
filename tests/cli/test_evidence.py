"""Can what the nodes answered be read by hand?"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest

from diag.facts import snapshot as snapshots
from diag.facts.node import Evidence
from diag.rundir import EvidenceStore, RunDir
from tests.cli.conftest import RECORDED

RANKS = b"rank 0 of gpu01\n\x1b[31mTraceback\n"


@pytest.fixture
def run(tmp_path) -> Path:
    """Four nodes; all have the same limits, and two kept what their ranks printed."""
    store = EvidenceStore(RunDir(tmp_path, "r1"))
    limits = b'{"limits":{"nofile":[1024,4096]},"tool":{"status":1,"stdout":"a\\nb","stderr":"c"}}'
    printed = {"gpu01": RANKS, "gpu02": b"rank 1 of gpu02\n"}
    cluster = snapshots.load(RECORDED)
    nodes = []
    for node in cluster.nodes:
        kept = [("limits", limits), *([("collective", printed[node.name])] if node.name in printed else [])]
        evidence = tuple(Evidence(topic=topic, sha256=store(raw), size_bytes=len(raw)) for topic, raw in kept)
        nodes.append(msgspec.structs.replace(node, evidence=evidence))
    snapshots.save(msgspec.structs.replace(cluster, nodes=tuple(nodes)), tmp_path / "snapshot.json")
    return tmp_path


def test_what_there_is_is_listed_and_the_same_text_once(diag, run):
    done = diag("evidence", run)
    assert done.status == 0
    rows = [line.split() for line in done.out.splitlines()]
    size = len(RANKS)
    assert [row[:2] for row in rows] == [["limits", "gpu[01-04]"], ["collective", "gpu01"], ["collective", "gpu02"]]
    assert rows[1][2:] == [str(size), "B"]
    assert diag("evidence", run / "snapshot.json", "gpu02").out.count("gpu02") == 2


def test_one_topic_of_a_node_is_printed_and_steers_no_terminal(diag, run):
    out = diag("evidence", run, "gpu01", "collective").out
    assert "rank 0 of gpu01\n\\x1b[31mTraceback\n" in out
    assert "rank 1" not in out


def test_a_topic_alone_is_that_of_every_node(diag, run):
    out = diag("evidence", run, "collective").out
    assert out.index("── gpu01: collective") < out.index("rank 0") < out.index("── gpu02: collective")


def test_answers_are_written_so_that_they_can_be_read(diag, run):
    out = diag("evidence", run, "gpu03", "limits").out
    assert "limits:\n  {\n" in out
    assert "tool:\n  a\n  b\n  c\n  (status 1)\n" in out


@pytest.mark.parametrize("words", [["gpu09"], ["gpu01", "nosuch"], ["collective", "gpu01"], ["gpu01", "limits", "x"]])
def test_what_is_not_there_is_one_line_that_says_what_is(diag, run, words):
    done = diag("evidence", run, *words)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith("diag: evidence: ")
    assert "nodes: gpu[01-04]; topics: limits" in done.err


def test_a_snapshot_without_its_run_says_so(diag, run):
    (run / "evidence" / f"{hashlib.sha256(RANKS).hexdigest()}.gz").unlink()
    done = diag("evidence", run, "gpu01", "collective")
    assert done.status == 2
    assert "no such file; a Snapshot alone has no evidence" in done.err


def test_without_any_run_it_says_how_to_start_one(diag):
    assert "diag: no run yet" in diag("evidence").err
