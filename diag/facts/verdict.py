"""What was judged: the records behind ``verdicts.json``, whose form is a contract with machines."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

OUTCOMES = ("passed", "failed", "not_measured", "skipped", "advice", "broken")

SEEN = 1.0
"""It happened before our eyes: the connection was refused, the process ended."""
READ = 0.95
"""A fact read on the node contradicts what is needed; only the reader could be wrong."""
CONCLUDED = 0.7
"""It follows from silence: a rank that never came or stopped moving may itself be somebody's victim; or it lies between
two ends, of which only one has it."""
SAID = 2
"""So many findings stand in the summary of a culprit; its evidence leads to the others."""

LISTED = 4
"""So many names stand in a finding; the rest are counted."""

FOUND, EXPECTED = "found ", "expected "


def finding(found: str, expected: str) -> str:
    """The message of a check's assertion: ``assert free >= FLOOR, finding("1.2 MiB free", "at least 1.0 GiB")``."""
    return f"{FOUND}{found}\n{EXPECTED}{expected}"


def listed(names: Sequence[object], shown: int = LISTED) -> str:
    """``gpu01, gpu02, gpu03, gpu04 and 5 more``"""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(str, names[:shown])) + more


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a check is called, why it matters, what to do when it fails."""

    title: str
    why: str
    do: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One check on one subject. Passed ones carry no more than the first four fields.

    ``asked`` False: it was not measured because this run was not to look; that is never held against the cluster.
    """

    check: str
    node: str | None
    subject: str | None
    outcome: str
    found: str | None = None
    expected: str | None = None
    summary: str | None = None
    asked: bool = True


class Culprit(msgspec.Struct, frozen=True, kw_only=True):
    """Who or what explains failures: ``cause`` is an id of ``facts.causes``, ``evidence`` lists ``check@node``."""

    kind: str
    nodes: tuple[str, ...]
    cause: str
    summary: str
    confidence: float
    evidence: tuple[str, ...] = ()


class StageTime(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    seconds: float
    nodes_done: int
    nodes_total: int


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which checks were asked: ``asked`` of the ``known`` ones; what -k, --checks and -x said.

    ``ignored``: what in a folder of one's own looks like a check and is none.
    """

    keyword: str = ""
    folders: tuple[str, ...] = ()
    exitfirst: bool = False
    asked: int = 0
    known: int = 0
    ignored: tuple[str, ...] = ()


class Verdicts(msgspec.Struct, frozen=True, kw_only=True):
    """``verdicts.json``, schema 1. ``run_id``, ``taken_at``, ``level`` and ``hosts`` are those of the Snapshot."""

    schema: int = 1
    diag: str
    run_id: str = ""
    taken_at: str = ""
    level: str = ""
    hosts: tuple[str, ...] = ()
    selection: Selection = Selection()
    fail_on: str = "failed"
    interrupted: bool = False
    exit_status: int
    checks: dict[str, About]
    verdicts: tuple[Verdict, ...]
    culprits: tuple[Culprit, ...]
    stages: tuple[StageTime, ...]
