"""Is any payload that was found wrong ever taken for a healthy one?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from diag.facts.snapshot import load
from diag.judge import judge
from tests.checks.healthy import SNAPSHOTS

HEALTHY = (SNAPSHOTS / "healthy-gpu.json").read_text()
TELLING = ("dtype", "kind", "near", "collective", "environment", "captured", "size_bytes")


def verified(held: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """What was verified, in words, and where it stands in the file."""
    if isinstance(held, dict) and "verified" in held:
        topic = next(step for step in reversed(path) if isinstance(step, str))
        yield " ".join([topic, *(f"{name}={held[name]}" for name in TELLING if name in held)]), path
    for key, below in held.items() if isinstance(held, dict) else enumerate(held) if isinstance(held, list) else ():
        yield from verified(below, (*path, key))


PLACES = dict(verified(json.loads(HEALTHY)))
"""The last one of each kind: sizes and kinds are judged by the same line for all GPUs."""
JUDGES = "speed or p2p or collective or nccl"
"""The files of checks that read measurements of GPUs: the rest costs a second each time."""


@pytest.mark.parametrize("kind", PLACES)
def test_what_was_not_verified_fails_a_check(kind: str, tmp_path):
    cluster = json.loads(HEALTHY)
    held = cluster
    for step in PLACES[kind]:
        held = held[step]
    held["verified"] = False
    (tmp_path / "snapshot.json").write_text(json.dumps(cluster))
    failed = [
        each for each in judge(load(tmp_path / "snapshot.json"), keyword=JUDGES).verdicts if each.outcome == "failed"
    ]
    assert failed
    assert all(each.found for each in failed)
