"""What does DCGM's own short diagnosis say of a node's GPUs? It is asked where nothing else runs on them.

``dcgmi diag -r 1 -j`` prints a tree: categories, their tests, and for each GPU a status (DCGM's nvvs sources: Pass,
Fail, Warn, Skip). From version 4 on its root is called otherwise. No output of a real GPU was at hand.
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
REQUEST = Request(
    name="dcgm diagnosis", verb=Run(("dcgmi", "diag", "-r", "1", "-j"), {"LC_ALL": "C"}, 1 << 18), deadline_s=DEADLINE_S
)


class _Ran(msgspec.Struct, frozen=True):
    status: int
    stdout: str
    stderr: str


def read(answers: Answers) -> tuple[str, ...]:
    """A line for each test that failed; empty: none did, and some passed. Raises NotMeasured."""
    ran = told(answers, REQUEST.name, _Ran)
    results = [(name, row) for name, row in _results(_root(ran)) if isinstance(row.get("status"), str)]
    if not any(_status(row) in {"pass", "fail"} for _, row in results):
        raise NotMeasured(f"dcgmi diag: no test ran: {_first_words(ran)!r}")
    return tuple(_line(name, row) for name, row in results if _status(row) == "fail")


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
            for row in _maps(test.get("results")):
                yield str(test.get("name", "a test without a name")), row


def _maps(value: object) -> Iterator[Mapping[str, Any]]:
    yield from (one for one in value if isinstance(one, dict)) if isinstance(value, list) else ()


def _status(row: Mapping[str, Any]) -> str:
    return str(row["status"]).strip().lower()


def _line(name: str, row: Mapping[str, Any]) -> str:
    gpu = next((f"gpu:{row[key]}" for key in GPU if key in row), "")
    warnings = row.get("warnings") or row.get("info") or []
    first = warnings[0] if isinstance(warnings, list) and warnings else warnings
    words = first.get("warning", "") if isinstance(first, dict) else first
    return f"{name} {gpu}".strip() + (f": {str(words)[:80]}" if words else "")


def _first_words(ran: _Ran) -> str:
    return " ".join((ran.stdout.strip() or ran.stderr.strip()).split())[:80]
