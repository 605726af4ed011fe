"""What does DCGM's short diagnosis say? The tree is of the form that its sources write; no real output was at hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from diag.facts.record import NotMeasured
from diag.probes import dcgm
from diag.probes.verbs import Answer


def one(name: str, *results: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "results": list(results)}


def said(*tests: dict[str, Any], root: str = "DCGM GPU Diagnostic", before: str = "", **more: Any) -> dcgm.Diagnosis:
    tree = {root: {"version": "3.3.1", "test_categories": [{"category": "Deployment", "tests": list(tests)}], **more}}
    return answered(before + msgspec.json.encode(tree).decode())


def answered(stdout: str, stderr: str = "") -> dcgm.Diagnosis:
    value = {"status": 0, "stdout": stdout, "stderr": stderr}
    return dcgm.read({dcgm.REQUEST.name: Answer(name=dcgm.REQUEST.name, value=value)})


NOTHING = dcgm.Diagnosis(failures=(), warnings=())
PASSED, SKIPPED = {"gpu_id": "0", "status": "Pass"}, {"gpu_id": "1", "status": "Skip"}


@pytest.mark.parametrize("root", dcgm.ROOTS)
def test_a_diagnosis_without_a_failure_has_no_line(root):
    assert said(one("Denylist", PASSED), one("Inforom", SKIPPED), root=root) == NOTHING


def test_what_failed_is_told_with_its_gpu_and_its_first_warning():
    failed = {"gpu_id": "3", "status": "Fail", "warnings": ["Page retirements are pending", "more"]}
    newer = {"entity_id": 5, "status": "FAIL", "warnings": [{"error_id": 9, "warning": "The driver was not found"}]}
    assert said(one("Page Retirement", PASSED, failed), one("NVML Library", newer)).failures == (
        "Page Retirement gpu:3: Page retirements are pending",
        "NVML Library gpu:5: The driver was not found",
    )


@pytest.mark.parametrize("word", ["Warn", "Not Run"])
def test_what_neither_passed_nor_failed_is_a_warning(word):
    warned = {"entity_id": 2, "status": word, "warnings": [{"warning": "Persistence mode is off"}]}
    found = said(one("software", PASSED, warned))
    assert found == dcgm.Diagnosis(failures=(), warnings=(f"software gpu:2 ({word}): Persistence mode is off",))


def test_a_test_that_ended_in_an_error_has_failed():
    assert said(one("Denylist", PASSED), one("Memory", {"status": "Error"})).failures == ("Memory (Error)",)


def test_what_is_said_of_a_test_as_a_whole_counts_where_none_of_its_gpus_says_so():
    summary = {"test_summary": {"status": "Fail", "warnings": [{"warning": "no device"}]}}
    assert said({**one("software", PASSED), **summary}).failures == ("software: no device",)
    assert said({**one("software", {"gpu_id": "3", "status": "Fail"}), **summary}).failures == ("software gpu:3",)


def test_words_before_the_tree_are_read_over():
    assert said(one("Denylist", PASSED), before="Successfully ran diagnostic for group.\n") == NOTHING


@pytest.mark.parametrize(
    ("stdout", "named"),
    [
        ("Error: unable to establish a connection to the specified host: localhost", "unable to establish"),
        ("{}", "expected DCGM Diagnostic or"),
        ('{"DCGM Diagnostic": {"runtime_error": "no GPU"}}', "no GPU"),
        ('{"DCGM Diagnostic": {"version": "4.2.3"}}', "no test ran"),
        ('{"DCGM Diagnostic": {"test_categories": [{"tests": 3}, 4]}}', "no test ran"),
        ("", "expected JSON"),
    ],
)
def test_what_is_no_diagnosis_is_not_health(stdout, named):
    with pytest.raises(NotMeasured, match=named):
        answered(stdout)


def test_a_diagnosis_that_skipped_everything_is_not_health():
    with pytest.raises(NotMeasured, match="no test ran"):
        said(one("Denylist", SKIPPED))
