"""Which version is planned for, and by which rules?"""

from __future__ import annotations

import pytest

from diag.engines import ENGINES, plan_launch
from diag.engines.eras import numbers
from diag.engines.versions import installed as find_installed
from diag.errors import DiagError
from diag.facts.record import Missing
from diag.planner.unknown import NotKnown
from tests.engines.plans import planned
from tests.planner.clusters import cpu_node, gpu_node, installed, snapshot

NEWEST = {"vllm": "0.33", "sglang": "0.5.23", "lmdeploy": "0.18", "ollama": "0.33"}


@pytest.mark.parametrize("engine", ENGINES)
def test_without_a_version_the_newest_known_is_planned_for_and_says_so(engine):
    rules = ENGINES[engine].rules(None)
    assert (rules.engine, rules.version) == (engine, NEWEST[engine])
    assert "no version named or installed" in (rules.note or "")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_newer_version_gets_the_newest_rules_under_its_own_name(engine):
    rules = ENGINES[engine].rules("9.9.9")
    assert rules.version == "9.9.9"
    assert f"newer than {NEWEST[engine]}" in (rules.note or "")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_known_version_needs_no_note(engine):
    assert ENGINES[engine].rules(NEWEST[engine]).note is None


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_no_version_is_not_known(engine):
    with pytest.raises(NotKnown, match=f"{engine} version 'main'"):
        ENGINES[engine].rules("main")


@pytest.mark.parametrize(
    ("version", "found"), [("0.5.10.post1", (0, 5, 10)), ("0.33", (0, 33, 0)), ("0.11.0rc1", (0, 11, 0)), ("x", None)]
)
def test_a_version_is_read_by_its_first_three_numbers(version, found):
    assert numbers(version) == found


@pytest.mark.parametrize(
    ("engine", "version", "name", "value"),
    [
        ("vllm", "0.7.3", "expert_parallel", True),
        ("lmdeploy", "0.18", "quantization", "awq"),
        ("ollama", "0.33", "block_size", 64),
        ("sglang", "0.4.6", "pipeline_parallel_size", 2),
    ],
)
def test_what_a_version_has_no_flag_for_is_said(engine, version, name, value):
    given = planned(**{name: value, "max_model_len": 8192})
    recipe, why = ENGINES[engine].recipe(given, ENGINES[engine].rules(version))
    assert recipe.argv
    assert why[f"recipe.{name}"] == f"{engine} {version} has no flag for {name}"
    assert "recipe.max_model_len" not in why


def test_the_oldest_of_differing_versions_is_planned_for():
    nodes = [gpu_node(f"n{n}", free_gib=(), software=installed(v)) for n, v in enumerate(("0.33.0", "0.9.1", None))]
    version, line = find_installed(snapshot(*nodes, gpu_node("n9", free_gib=(), software=Missing("x"))), "vllm")
    assert version == "0.9.1"
    assert line == "differs between nodes (0.33.0 on n0; 0.9.1 on n1; not installed on n2): planned for 0.9.1"


def test_an_unknown_engine_is_one_clear_line():
    with pytest.raises(DiagError, match="'tgi' is not known; known: vllm, sglang, lmdeploy, ollama"):
        plan_launch(snapshot(cpu_node("n1", available_gib=16)), None, engine="tgi")
