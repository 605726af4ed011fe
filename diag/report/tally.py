"""Which verdicts say the same? All of them are read once; what follows works on groups."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from diag.catalogue import Check
from diag.facts.verdict import OUTCOMES, Verdict, Verdicts
from diag.report.places import Place, place, places_of

NOWHERE = "checks"
"""The file of a check that could not be read in."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Verdicts of one check with the same outcome and words. ``first`` stands for all of them."""

    check: str
    outcome: str
    places: tuple[Place, ...]
    first: Verdict

    @property
    def words(self) -> str:
        return self.first.summary or self.first.found or ""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """``by_check``: check -> outcome -> its verdicts, both in the order in which they were judged."""

    by_check: Mapping[str, Mapping[str, Sequence[Verdict]]]
    counts: Mapping[str, int]
    """Verdicts of each outcome."""

    def groups(self, *outcomes: str) -> list[Group]:
        return [
            group
            for check, held in self.by_check.items()
            for outcome in outcomes
            for group in _groups(check, outcome, held.get(outcome, ()))
        ]


def tally(verdicts: Verdicts) -> Tally:
    by_check: dict[str, dict[str, list[Verdict]]] = {}
    for verdict in verdicts.verdicts:
        held = by_check.get(verdict.check)
        if held is None:
            held = by_check[verdict.check] = defaultdict(list)
        held[verdict.outcome].append(verdict)
    counts = Counter(dict.fromkeys(OUTCOMES, 0))
    for held in by_check.values():
        counts.update({outcome: len(several) for outcome, several in held.items()})
    return Tally(by_check=by_check, counts=counts)


def by_file(tally_: Tally, checks: Mapping[str, Check]) -> dict[str, list[str]]:
    """File name (``network.py``) -> its checks."""
    files: dict[str, list[str]] = defaultdict(list)
    for check in tally_.by_check:
        files[checks[check].file.rpartition("/")[2] if check in checks else NOWHERE].append(check)
    return dict(files)


def _groups(check: str, outcome: str, verdicts: Sequence[Verdict]) -> Iterable[Group]:
    """Two nodes that say the same of themselves say the same: their own names do not tell them apart."""
    same: dict[tuple[str, str, str], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        same[_without_names(verdict)].append(verdict)
    for several in same.values():
        yield Group(check=check, outcome=outcome, places=places_of(several), first=several[0])


def _without_names(verdict: Verdict) -> tuple[str, str, str]:
    own = {verdict.node or "", place(verdict.node, verdict.subject), (verdict.subject or "").partition(":")[2]} - {""}
    texts = [text or "" for text in (verdict.found, verdict.expected, verdict.summary)]
    if any(name in text for name in own for text in texts):
        pattern = "|".join(re.escape(name) for name in sorted(own, key=len, reverse=True))
        texts = [re.sub(rf"(?<![\w.-])(?:{pattern})(?![\w-])", "\0", text) for text in texts]
    return texts[0], texts[1], texts[2]
