"""Does `diag plan` say first what failed, what is left out, and what nobody judged?"""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import RECORDED

MODEL = "Qwen/Qwen3-0.6B"


@pytest.fixture
def with_ecc_errors(tmp_path):
    """The recorded healthy cluster, but gpu03:5 counted 12 uncorrected errors."""
    cluster = json.loads(RECORDED.read_text())
    cluster["nodes"][2]["gpus"][5]["ecc"]["volatile_uncorrected"] = 12
    (tmp_path / "snapshot.json").write_text(json.dumps(cluster))
    return tmp_path


def test_a_plan_of_what_failed_says_so_first_and_how_to_do_without(diag, with_ecc_errors):
    command = f"diag plan {with_ecc_errors} --exclude gpu03:5"
    told = " ".join(diag("plan", with_ecc_errors).out.split())
    said = f"1 check failed on gpu03:5: this plan uses it; without it: {command}"
    assert told.index(said) < told.index("GiB weights")
    assert told.count(said) == 1
    assert said in json.loads(diag("plan", with_ecc_errors, "--json").out)["notes"]
    assert said[:40] in " ".join(diag("plan", with_ecc_errors, "--engine", "all").out.split())


def test_what_is_excluded_is_in_no_plan(diag, with_ecc_errors):
    done = diag("plan", with_ecc_errors, "--exclude", "gpu03:5", "--json")
    plan = json.loads(done.out)
    assert plan["cautions"] == ["left out: gpu03:5, excluded by you"]
    assert plan["recipe"]["env_of_nodes"]["gpu03"]["CUDA_VISIBLE_DEVICES"] == "0,1,2,3,4,6,7"
    assert json.loads(diag("plan", with_ecc_errors, "--exclude", "gpu03", "--json").out)["nodes"] == [
        "gpu01", "gpu02", "gpu04"
    ]  # fmt: skip


def test_a_healthy_cluster_needs_no_caution(diag):
    assert json.loads(diag("plan", RECORDED, "--json").out)["cautions"] == []


def test_of_many_nodes_the_verdicts_of_their_run_count(diag, with_ecc_errors, monkeypatch):
    (with_ecc_errors / "verdicts.json").write_text(diag("check", with_ecc_errors, "--json").out)
    monkeypatch.setattr("diag.cli.planning.MOST_JUDGED", 3)
    assert "1 check failed on gpu03:5" in diag("plan", with_ecc_errors).out


def test_many_nodes_that_nobody_judged_are_said_to_be_so(diag, with_ecc_errors, monkeypatch):
    monkeypatch.setattr("diag.cli.planning.MOST_JUDGED", 3)
    file = with_ecc_errors / "verdicts.json"
    (line,) = json.loads(diag("plan", with_ecc_errors, "--json").out)["cautions"]
    assert line.startswith(f"whether its nodes and GPUs are fit was not judged: {file} holds no verdicts of this run")
    assert line.endswith(f"diag check {with_ecc_errors} --json > {file}")
    file.write_text(json.dumps(json.loads(diag("check", with_ecc_errors, "--json").out) | {"run_id": "another"}))
    assert json.loads(diag("plan", with_ecc_errors, "--json").out)["cautions"] == [line]


def test_verdicts_of_some_checks_do_not_judge_all(diag, with_ecc_errors, monkeypatch):
    monkeypatch.setattr("diag.cli.planning.MOST_JUDGED", 3)
    (with_ecc_errors / "verdicts.json").write_text(diag("check", with_ecc_errors, "-k", "clock", "--json").out)
    said = "whether its nodes and GPUs are fit was not judged by all checks: -k clock left some out"
    assert json.loads(diag("plan", with_ecc_errors, "--json").out)["cautions"] == [said]
    assert json.loads(diag("plan", "--hardware", "8xH100", "--model", MODEL, "--json").out)["cautions"] == []


@pytest.mark.parametrize("text", ["gpu09", "gpu03:9", "", "gpu03:x"])
def test_a_wrong_exclusion_is_one_line(diag, text):
    done = diag("plan", RECORDED, "--exclude", text)
    assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert done.err.startswith("diag: --exclude: ")
