"""Is what machines read exactly the contract's form?"""

from __future__ import annotations

import json

import msgspec

from diag.facts.plan import EngineName, Plan
from diag.facts.verdict import Verdict, Verdicts
from diag.report.machine import plan_json, plans_json, verdicts_json
from tests.report import plans, samples


def test_verdicts_json_has_the_keys_of_schema_1():
    document = json.loads(verdicts_json(samples.verdicts()))
    assert list(document) == [
        "schema", "diag", "run_id", "taken_at", "level", "hosts", "selection", "fail_on", "interrupted", "exit_status",
        "checks", "verdicts", "culprits", "stages",
    ]  # fmt: skip
    assert set(document["selection"]) == {"keyword", "folders", "exitfirst", "asked", "known", "ignored"}
    assert document["schema"] == 1
    assert set(document["checks"]["own_check"]) == {"title", "why", "do"}
    assert set(document["culprits"][0]) == {"kind", "nodes", "cause", "summary", "confidence", "evidence"}
    assert set(document["stages"][0]) == {"name", "seconds", "nodes_done", "nodes_total"}


def test_a_passed_verdict_carries_four_keys_and_any_other_all_eight():
    four = {"check", "node", "subject", "outcome"}
    for verdict in json.loads(verdicts_json(samples.verdicts()))["verdicts"]:
        expected = four if verdict["outcome"] == "passed" else four | {"found", "expected", "summary", "asked"}
        assert set(verdict) == expected


def test_what_is_written_reads_back_as_the_same_verdicts():
    assert msgspec.json.decode(verdicts_json(samples.verdicts()), type=Verdicts) == samples.verdicts()


def test_an_unknown_plan_has_every_object_and_null_leaves():
    unknown = Plan(verdict="UNKNOWN", reason="no config", engine=EngineName(name="vllm"))
    document = json.loads(plan_json(unknown))
    assert document["memory"]["weights_bytes"] == {"low": None, "mid": None, "high": None}
    assert document["kv"]["capacity_tokens"] is None
    assert document["memory"]["total_bytes"] is None
    assert document["notes"] == []
    assert document["recipe"] == {"argv": [], "env": {}, "env_of_nodes": {}}
    assert document["lever"] is None
    assert len(document["parameters"]) == 19


def test_no_control_character_reaches_a_terminal_and_none_is_lost():
    odd = "\x1b]0;x\x07 \x7f \x9b31m \u202e \u2028 \ufeff \U000e0041"
    plain = "Zürich 日本 5 µs … 😀"
    said = Verdict(check="x", node="a", subject=None, outcome="failed", found=f"{odd} {plain}")
    every = msgspec.structs.replace(samples.verdicts(), verdicts=(said,))
    text = verdicts_json(every).decode()
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert "\\u009b31m" in text
    assert plain in text
    assert msgspec.json.decode(text, type=Verdicts) == every
    assert b"\\u0085" in plan_json(Plan(verdict="UNKNOWN", reason="\x85", engine=EngineName(name="vllm")))


def test_the_plans_of_several_engines_are_a_list_of_what_one_is():
    several = [plans.FITS, plans.UNKNOWN]
    assert json.loads(plans_json(several)) == [json.loads(plan_json(plan)) for plan in several]
    assert msgspec.json.decode(plans_json(several), type=list[Plan]) == several


def test_what_a_candidate_would_hold_is_in_plan_json():
    first = json.loads(plan_json(plans.FITS))["discarded"][0]
    assert set(first) == {"parameters", "reason", "verdict", "memory", "kv"}
    assert first["memory"]["weights_bytes"]["mid"] == 17 * plans.GIB
