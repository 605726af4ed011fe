"""What is wrong, what is not known, what could be better, and what to do about each?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from diag.facts import remedy
from diag.facts.verdict import Culprit
from diag.report.ink import Ink
from diag.report.places import Place, number_of, shortened
from diag.report.shown import Shown
from diag.report.tally import Group, Tally

INDENT, FIELD = 2, 12
DEPEND = "need others, which failed or were not measured"
MOST_GROUPS = 5
"""So many different findings of one check are explained; the other nodes are named."""
CERTAIN = ((0.99, "certain"), (0.9, "almost certain"), (0.65, "likely"), (0.0, "possible"))


def failed_lines(shown: Shown, tally: Tally, ink: Ink) -> list[str]:
    groups = tally.groups("failed")
    return [ink.rule("failed", "failed"), *_explained(groups, shown, ink)] if groups else []


def advice_lines(shown: Shown, tally: Tally, ink: Ink) -> list[str]:
    groups = tally.groups("advice")
    return (
        [ink.rule("advice: it works, it could be better", "advice"), *_explained(groups, shown, ink)] if groups else []
    )


def broken_lines(tally: Tally, ink: Ink) -> list[str]:
    """A check that could not judge: its author's to repair, not the cluster's."""
    groups = tally.groups("broken")
    if not groups:
        return []
    lines = [ink.rule("broken checks", "broken")]
    for group in groups:
        lines += _headed(group, ink, "broken")
        lines += _field("found", group.words, ink)
    return lines


def _explained(groups: Sequence[Group], shown: Shown, ink: Ink) -> list[str]:
    """Check by check: found and expected for each different finding, why once, what to do and one command each."""
    lines: list[str] = []
    by_check: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        by_check[group.check].append(group)
    for check, several in by_check.items():
        most = len(several) if shown.verbosity > 0 else MOST_GROUPS
        for position, group in enumerate(several[:most]):
            lines += _headed(group, ink, group.outcome)
            lines += _finding(group, shown, ink, with_why=position == 0)
        if rest := several[most:]:
            places = [place for group in rest for place in group.places]
            lines += _indented(f"{check}: likewise on {shortened(places)}; -v explains each", ink, "dim")
    return lines


def _headed(group: Group, ink: Ink, style: str) -> list[str]:
    where = shortened(group.places)
    if len(where) + 2 + len(group.check) <= ink.width:
        return [f"{ink(where, style)}  {ink(group.check)}"]
    return [*(ink(line, style) for line in ink.wrap(where, indent=0)), *_indented(group.check, ink, "")]


def _finding(group: Group, shown: Shown, ink: Ink, *, with_why: bool) -> Iterable[str]:
    verdict, about = group.first, shown.verdicts.checks.get(group.check)
    lead = "e.g. " if len(group.places) > 1 and verdict.node and verdict.node in group.words else ""
    yield from _field("found", lead + (verdict.found or group.words), ink)
    if verdict.expected:
        yield from _field("expected", verdict.expected, ink)
    if about is None:
        return
    if with_why and about.why:
        yield from _field("why", about.why, ink)
    if do := remedy.advice(about, verdict, shown.snapshot):
        yield from _field("do", do, ink)
    if command := remedy.command(about, verdict, shown.snapshot, ways=shown.ways):
        yield f"{'':{FIELD}}{ink('$ ' + command, 'command')}"


def not_measured_lines(shown: Shown, tally: Tally, ink: Ink) -> list[str]:
    """Grouped by whom and why: of a node that was not reached, the reason is said once and the checks are counted.

    So are checks that wait for others: one fact that is not known leaves a chain of them.
    """
    told: dict[tuple[tuple[Place, ...], str], list[Group]] = defaultdict(list)
    for group in tally.groups("not_measured"):
        told[group.places, "needs" if group.words.startswith("needs ") else group.words].append(group)
    alike: dict[tuple[str, ...], list[tuple[tuple[Place, ...], list[Group]]]] = defaultdict(list)
    for (places, _), groups in told.items():
        alike[tuple(group.check for group in groups)].append((places, groups))
    lines = [ink.rule("not measured", "not_measured")] if told else []
    for several in alike.values():
        most = len(several) if shown.verbosity > 0 else MOST_GROUPS
        for places, groups in several[:most]:
            lines += _not_measured(places, groups, shown, ink)
        if rest := [place for places, _ in several[most:] for place in places]:
            lines += _indented(f"likewise {shortened(rest)}, each for a reason of its own; -v says them", ink, "dim")
    return lines


def _not_measured(places: tuple[Place, ...], groups: Sequence[Group], shown: Shown, ink: Ink) -> list[str]:
    checks = [group.check for group in groups]
    reasons = {group.words for group in groups}
    optional = all(_is_optional(group, shown) for group in groups)
    why = (reasons.pop() if len(reasons) == 1 else DEPEND) + (" (optional)" if optional else "")
    head = f"{shortened(places)}  {checks[0] if len(checks) == 1 else number_of(len(checks), 'check')}"
    if len(head) + 2 + len(why) <= ink.width:
        lines = [f"{ink(head, 'not_measured')}  {ink(why)}"]
    else:
        lines = [*(ink(line, "not_measured") for line in ink.wrap(head, indent=0)), *_indented(why, ink, "")]
    if (do := _reach_again(places, shown)) and groups[0].words.startswith("not reached"):
        lines += _field("do", do, ink)
    named = shown.verbosity > 0 and len(checks) > 1
    return lines + (_indented(", ".join(checks), ink, "dim") if named else [])


def _is_optional(group: Group, shown: Shown) -> bool:
    known = shown.checks.get(group.check)
    return not group.first.asked or (known is not None and known.optional)


def _reach_again(places: tuple[Place, ...], shown: Shown) -> str:
    """What to do about the first of the nodes that were not reached."""
    names = {name for name, _ in places}
    return next((node.reach.do for node in shown.snapshot.nodes if node.name in names), "")


def culprit_lines(shown: Shown, ink: Ink) -> list[str]:
    by_cause: dict[str, list[Culprit]] = defaultdict(list)
    for culprit in shown.verdicts.culprits:
        by_cause[culprit.cause].append(culprit)
    texts: list[str] = []
    for cause, several in by_cause.items():
        most = len(several) if shown.verbosity > 0 else MOST_GROUPS
        texts += [_culprit(culprit) for culprit in several[:most]]
        if rest := [name for culprit in several[most:] for name in culprit.nodes]:
            texts.append(f"{shortened([(name, None) for name in rest])}  likewise ({cause})")
    return [
        line
        for position, text in enumerate(texts)
        for line in ink.field("" if position else "culprits", text, indent=10)
    ]


def _culprit(culprit: Culprit) -> str:
    sure = next(word for floor, word in CERTAIN if culprit.confidence >= floor)
    who = shortened([(name, None) for name in culprit.nodes]) if culprit.nodes else "cluster"
    told = culprit.summary if culprit.summary.startswith(who) else f"{who}  {culprit.summary}"
    return f"{told} ({culprit.cause}, {sure})"


def _field(label: str, text: str, ink: Ink) -> list[str]:
    return [f"{'':{INDENT}}{line}" if at == 0 else line for at, line in enumerate(_aligned(label, text, ink))]


def _aligned(label: str, text: str, ink: Ink) -> list[str]:
    head, *rest = ink.wrap(text, indent=FIELD)
    label = f"{label:<{FIELD - INDENT}}"
    return [f"{ink(label, 'dim')}{ink(head)}", *(f"{'':{FIELD}}{ink(line)}" for line in rest)]


def _indented(text: str, ink: Ink, style: str) -> list[str]:
    return [f"{'':{INDENT}}{ink(line, style)}" for line in ink.wrap(text, indent=INDENT)]
