"""What do machines read? ``verdicts.json`` and ``plan.json``, exactly as the contract spells them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import msgspec

from diag.facts.plan import Plan
from diag.facts.verdict import About, Culprit, Selection, StageTime, Verdict, Verdicts

_NOT_ASCII = re.compile(rb"[\x7f-\xff]+")


class Passed(msgspec.Struct, frozen=True):
    """A passed verdict says no more than this."""

    check: str
    node: str | None
    subject: str | None
    outcome: str


class Judged(msgspec.Struct, frozen=True):
    """Any other verdict: what is not known is null, never absent."""

    check: str
    node: str | None
    subject: str | None
    outcome: str
    found: str | None
    expected: str | None
    summary: str | None
    asked: bool


class Document(msgspec.Struct, frozen=True):
    """``verdicts.json``, schema 1."""

    schema: int
    diag: str
    run_id: str
    taken_at: str
    level: str
    hosts: tuple[str, ...]
    selection: Selection
    fail_on: str
    interrupted: bool
    exit_status: int
    checks: dict[str, About]
    verdicts: list[Passed | Judged]
    culprits: tuple[Culprit, ...]
    stages: tuple[StageTime, ...]


def verdicts_json(verdicts: Verdicts) -> bytes:
    """One verdict a line would be 1,000 nodes' worth of lines: indented by one, as the Snapshot is."""
    document = Document(
        verdicts.schema, verdicts.diag, verdicts.run_id, verdicts.taken_at, verdicts.level, verdicts.hosts,
        verdicts.selection, verdicts.fail_on, verdicts.interrupted, verdicts.exit_status, verdicts.checks,
        [_entry(verdict) for verdict in verdicts.verdicts], verdicts.culprits, verdicts.stages,
    )  # fmt: skip
    return _written(document)


def _entry(verdict: Verdict) -> Passed | Judged:
    if verdict.outcome == "passed":
        return Passed(verdict.check, verdict.node, verdict.subject, verdict.outcome)
    return Judged(
        verdict.check, verdict.node, verdict.subject, verdict.outcome, verdict.found, verdict.expected, verdict.summary,
        verdict.asked,
    )  # fmt: skip


def plan_json(plan: Plan) -> bytes:
    return _written(plan)


def plans_json(plans: Sequence[Plan]) -> bytes:
    """A list of such documents, one for each engine."""
    return _written(tuple(plans))


def _written(document: Document | Plan | tuple[Plan, ...]) -> bytes:
    """JSON allows a terminal's control characters above U+007F as they are; here no terminal is steered."""
    return _NOT_ASCII.sub(_escaped, msgspec.json.format(msgspec.json.encode(document), indent=1)) + b"\n"


def _escaped(match: re.Match[bytes]) -> bytes:
    """Only inside of strings are there such bytes, so each character may be written as its number."""
    text = match[0].decode()
    if text.isprintable():
        return match[0]
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text).encode()
