"""What does DCGM's own short diagnosis say of a node's GPUs? It is asked where nothing else runs on them.

``dcgmi diag -r 1 -j`` prints a tree: categories, their tests, and for each GPU a status (DCGM's nvvs sources: Pass,
Fail, Warn, Skip; from version 4 on a summary of each test, too, and another root). No output of a real GPU was at hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from diag.facts.record import NotMeasured
from diag.probes.probe import Answers, told
from diag.probes.verbs import Request, Run

DEADLINE_S = 60.0
ROOTS = ("DCGM Diagnostic", "DCGM GPU Diagnostic")
GPU = ("entity_id", "gpu_id", "gpu_ids", "gpu")
FAILED, WELL, ENDED = ("fail", "error"), ("pass", "skip"), ("pass", "fail", "warn", "error")
REQUEST = Request(
    name="dcgm diagnosis", verb=Run(("dcgmi", "diag", "-r", "1", "-j"), {"LC_ALL": "C"}, 1 << 18), deadline_s=DEADLINE_S
)


class _Ran(msgspec.Struct, frozen=True):
    status: int
    stdout: str
    stderr: str


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """A line for each test that failed, and for each that ended in another way than passed or skipped."""

    failures: tuple[str, ...]
    warnings: tuple[str, ...]


def read(answers: Answers) -> Diagnosis:
    """Raises NotMeasured where no test came to an end."""
    ran = told(answers, REQUEST.name, _Ran)
    results = list(_results(_root(ran)))
    if not any(_status(row) in ENDED for _, row in results):
        raise NotMeasured(f"dcgmi diag: no test ran: {_first_words(ran)!r}")
    return Diagnosis(
        failures=tuple(_line(name, row) for name, row in results if _status(row) in FAILED),
        warnings=tuple(_line(name, row) for name, row in results if _status(row) not in {*FAILED, *WELL}),
    )


def _root(ran: _Ran) -> Mapping[str, Any]:
    """What stands before the tree are messages of its own."""
    start = ran.stdout.find("{")
    try:
        tree = msgspec.json.decode(ran.stdout[max(0, start) :])
    except msgspec.DecodeError:
        raise NotMeasured(f"dcgmi diag: found {_first_words(ran)!r}, expected JSON") from None
    root = next((tree[name] for name in ROOTS if isinstance(tree, dict) and name in tree), None)
    if not isinstance(root, dict):
        raise NotMeasured(f"dcgmi diag: found {_first_words(ran)!r}, expected {' or '.join(ROOTS)}")
    if root.get("runtime_error"):
        raise NotMeasured(f"dcgmi diag: {str(root['runtime_error'])[:80]}")
    return root


def _results(root: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for category in _maps(root.get("test_categories")):
        for test in _maps(category.get("tests")):
            yield from ((str(test.get("name", "a test without a name")), row) for row in _of_test(test))


def _of_test(test: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of its GPUs; and what version 4 says of it as a whole, where that is worse than what it says of any."""
    rows = [row for row in _maps(test.get("results")) if isinstance(row.get("status"), str)]
    whole = test.get("test_summary")
    if isinstance(whole, dict) and isinstance(whole.get("status"), str):
        told_of_it = {_status(row) for row in rows}
        if _status(whole) not in {*WELL, *told_of_it} or not rows:
            rows.append(whole)
    return rows


def _maps(value: object) -> Iterator[Mapping[str, Any]]:
    yield from (one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()


def _status(row: Mapping[str, Any]) -> str:
    return str(row["status"]).strip().lower()


def _line(name: str, row: Mapping[str, Any]) -> str:
    gpu = next((f"gpu:{row[key]}" for key in GPU if key in row), "")
    warnings = row.get("warnings") or row.get("info") or []
    first = warnings[0] if isinstance(warnings, list) and warnings else warnings
    words = first.get("warning", "") if isinstance(first, dict) else first
    how = "" if _status(row) == "fail" else f" ({row['status']})"
    return f"{name} {gpu}".strip() + how + (f": {str(words)[:80]}" if words else "")


def _first_words(ran: _Ran) -> str:
    return " ".join((ran.stdout.strip() or ran.stderr.strip()).split())[:80]
