"""How do CI systems read the verdicts? JUnit XML: a suite for each check, a case for each node and subject.

A failure is ``failure``; a required fact that was not measured and a broken check are ``error``; what does not apply,
and what was not measured where it is optional or was not asked for, is ``skipped``; advice is a passed case with its
text in ``system-out``.
Written as text: 280,000 cases as elements of a tree take seconds and gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

from diag.catalogue import Check
from diag.facts import remedy
from diag.facts.node import Node
from diag.facts.remedy import NO_WAYS, Ways
from diag.facts.snapshot import Snapshot
from diag.facts.verdict import About, Verdict, Verdicts
from diag.report.places import place

NOT_XML = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
PLAIN = re.compile(r"[\w .,:;/()\[\]-]*", re.ASCII)
"""Of such characters most names consist; nothing in them has to be escaped."""
ELEMENTS = {"failed": "failure", "broken": "error", "not_measured": "error", "skipped": "skipped"}
COUNTED = ("failure", "error", "skipped")


def junit_xml(verdicts: Verdicts, checks: Mapping[str, Check], snapshot: Snapshot, ways: Ways = NO_WAYS) -> bytes:
    """The whole document, UTF-8. ``ways``: how the nodes were reached in this run."""
    by_check: dict[str, list[Verdict]] = {}
    for verdict in verdicts.verdicts:
        by_check.setdefault(verdict.check, []).append(verdict)
    asked = _Asked(snapshot, {node.name: node for node in snapshot.nodes}, ways)
    suites = [_Suite(check, verdicts.checks.get(check), checks.get(check), asked) for check in by_check]
    bodies = [suite.xml(by_check[suite.check]) for suite in suites]
    totals = {name: sum(suite.counts[name] for suite in suites) for name in COUNTED}
    time_s = sum(stage.seconds for stage in verdicts.stages)
    head = f'<testsuites name="diag" {_counts(len(verdicts.verdicts), totals)} time="{time_s:.3f}">'
    lines = ["<?xml version='1.0' encoding='utf-8'?>", head, *bodies, "</testsuites>\n"]
    return "\n".join(lines).encode()


class _Asked(NamedTuple):
    """Of what the verdicts are."""

    snapshot: Snapshot
    nodes: Mapping[str, Node]
    ways: Ways


class _Suite:
    """One check with its cases."""

    def __init__(self, check: str, about: About | None, known: Check | None, asked: _Asked) -> None:
        self.check = check
        self.about = about or About(title=check, why="", do="")
        self.optional = known is not None and known.optional
        self.file = _quoted(known.file.rpartition("/")[2].removesuffix(".py") if known is not None else "checks")
        self.asked = asked
        self.counts = dict.fromkeys(COUNTED, 0)

    def xml(self, verdicts: list[Verdict]) -> str:
        cases = [self._case(verdict) for verdict in verdicts]
        counts = _counts(len(cases), self.counts)
        head = f"<testsuite name={_quoted(self.check)} {counts} timestamp={_quoted(self.asked.snapshot.taken_at)}>"
        return "\n".join([head, *self._properties(), *cases, "</testsuite>"])

    def _properties(self) -> Iterator[str]:
        told = {
            name: value for name, value in (("why", self.about.why), ("do", remedy.general(self.about.do))) if value
        }
        if told:
            inside = "".join(f"<property name={_quoted(name)} value={_quoted(value)}/>" for name, value in told.items())
            yield f"<properties>{inside}</properties>"

    def _case(self, verdict: Verdict) -> str:
        name = _quoted(f"{self.check}[{place(verdict.node, verdict.subject)}]")
        head = f"<testcase classname={self.file} name={name}"
        return f"{head}/>" if verdict.outcome == "passed" else f"{head}>{self._outcome(verdict)}</testcase>"

    def _outcome(self, verdict: Verdict) -> str:
        summary = verdict.summary or verdict.found or ""
        element = ELEMENTS.get(verdict.outcome, "")
        if verdict.outcome == "not_measured" and (self.optional or not verdict.asked):
            element = "skipped"
        if not element:
            return f"<system-out>{_text(f'{verdict.outcome}: {self._told(verdict)}')}</system-out>"
        self.counts[element] += 1
        body = _text(self._told(verdict)) if element == "failure" else ""
        return f"<{element} type={_quoted(verdict.outcome)} message={_quoted(summary)}>{body}</{element}>"

    def _told(self, verdict: Verdict) -> str:
        snapshot, nodes, ways = self.asked
        node = nodes.get(verdict.node or "")
        do = remedy.advice(self.about, verdict, snapshot, node)
        command = remedy.command(self.about, verdict, snapshot, node, ways)
        lines = [f"found     {verdict.found or verdict.summary}"]
        lines += [f"expected  {verdict.expected}"] if verdict.expected else []
        lines += [f"do        {do}"] if do else []
        return "\n".join([*lines, *([f"$ {command}"] if command else [])])


def _counts(tests: int, counts: Mapping[str, int]) -> str:
    return f'tests="{tests}" failures="{counts["failure"]}" errors="{counts["error"]}" skipped="{counts["skipped"]}"'


def _text(text: str) -> str:
    return escape(NOT_XML.sub(_shown, text))


def _quoted(text: str) -> str:
    return f'"{text}"' if PLAIN.fullmatch(text) else quoteattr(NOT_XML.sub(_shown, text))


def _shown(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
