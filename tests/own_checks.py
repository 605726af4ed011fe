"""What do checks of one's own make of a Snapshot? A folder of them is written, and judged with alone."""

from __future__ import annotations

import textwrap
from pathlib import Path

from diag.facts.snapshot import Snapshot
from diag.facts.verdict import Verdict
from diag.judge import judge
from tests.checks.healthy import gpu_cluster

HEAD = """
import pytest
from diag.facts.record import NotMeasured
from diag.facts.verdict import finding
"""


def write(parent: Path, text: str, name: str = "mine.py") -> Path:
    folder = parent / "own"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(HEAD + textwrap.dedent(text))
    return folder


def verdicts_of(parent: Path, text: str, cluster: Snapshot | None = None) -> list[Verdict]:
    """Of the checks in ``text`` alone; their names hold ``mine``."""
    folder = write(parent, text)
    return list(judge(gpu_cluster(2) if cluster is None else cluster, folders=[folder], keyword="mine").verdicts)


def short(verdicts: list[Verdict]) -> list[tuple[str | None, str | None, str]]:
    return [(verdict.node, verdict.subject, verdict.outcome) for verdict in verdicts]
