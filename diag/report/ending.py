"""How does a page end: with which word, what was not looked at, and who is to blame, in a line or two?"""

from __future__ import annotations

from collections.abc import Iterable

from diag.facts.verdict import Verdict
from diag.report.ink import Ink
from diag.report.places import number_of, shortened
from diag.report.shown import Shown
from diag.report.tally import Tally

INTERRUPTED = 130
MEANS = {
    1: "the cluster is wrong", 2: "nothing was judged", 3: "not everything required is known",
    INTERRUPTED: "interrupted: this is what was known",
}  # fmt: skip
FIELD = 15
LINES, SHOWN_LINKS = 2, 3
"""Of the culprits, once more."""


def last_lines(shown: Shown, counted: Tally, ink: Ink) -> list[str]:
    """A path is copied as a whole: it gets a line of its own where it does not fit."""
    style = {0: "passed", 1: "failed"}.get(shown.exit_status, "not_measured")
    status, means = f"exit {shown.exit_status}", shown.ends_because or meaning(shown, counted)
    line = f"{ink(status, style)}  {ink(means)}"
    if len(status) + len(means) + len(shown.place) + 5 <= ink.width:
        ending = [f"{line}   {ink(shown.place)}".rstrip()]
    else:
        ending = [*(ink(part) for part in ink.wrap(f"{status}  {means}", indent=0)), ink(shown.place)]
    blamed = _blamed(shown, ink) if shown.plan is not None and shown.verbosity >= 0 else []
    return [*_not_looked_at(shown, counted, ink), *blamed, *ending]


def meaning(shown: Shown, counted: Tally) -> str:
    """Chosen by what was found, not by the status alone: nothing is healthy that was not looked at."""
    if not shown.snapshot.nodes:
        return "no node: nothing was judged"
    if shown.exit_status or shown.snapshot.interrupted:
        return MEANS.get(shown.exit_status or INTERRUPTED, "")
    if shown.verdicts.fail_on == "never":
        if counted.counts["failed"]:
            return "failures ignored (--fail-on never)"
        if _unknown(shown, counted):
            return "what is not known ignored (--fail-on never)"
    if _left_out(shown) or _unasked(counted):
        return "nothing wrong in what was looked at"
    optional = sum("not_measured" in held for held in counted.by_check.values())
    return f"healthy ({number_of(optional, 'optional check')} not measured)" if optional else "healthy"


def _unknown(shown: Shown, counted: Tally) -> bool:
    """Whether something that is required is not known."""
    optional = {check for check, known in shown.checks.items() if known.optional}
    unknown = (held.get("not_measured", ()) for check, held in counted.by_check.items() if check not in optional)
    lost = any(node.reach.outcome != "answered" for node in shown.snapshot.nodes)
    return lost or bool(counted.counts["broken"]) or any(verdict.asked for held in unknown for verdict in held)


def _not_looked_at(shown: Shown, counted: Tally, ink: Ink) -> list[str]:
    texts = [text for text in [_left_out(shown)] if text]
    unasked = _unasked(counted)
    if unasked:
        files = sorted({_file(verdict.check, shown) for verdict in unasked} - {""})
        whys = dict.fromkeys(_why(verdict, shown) for verdict in unasked)
        texts.append(f"{', '.join(files) or number_of(len(unasked), 'check')} ({', '.join(whys)})")
    return ink.field("not looked at", "; ".join(texts), indent=FIELD, style="not_measured") if texts else []


def _left_out(shown: Shown) -> str:
    chosen = shown.verdicts.selection
    left = chosen.known - chosen.asked
    why = f"-k {chosen.keyword}" if chosen.keyword else "-x" if chosen.exitfirst else ""
    return f"{left:,} of {number_of(chosen.known, 'check')} ({why})" if why and left > 0 else ""


def _unasked(counted: Tally) -> list[Verdict]:
    """One for each check that was not asked for."""
    held = (several.get("not_measured", ()) for several in counted.by_check.values())
    first = (next((verdict for verdict in verdicts if not verdict.asked), None) for verdicts in held)
    return [verdict for verdict in first if verdict is not None]


def _file(check: str, shown: Shown) -> str:
    known = shown.checks.get(check)
    return known.file.rpartition("/")[2].removesuffix(".py").replace("_", " ") if known is not None else ""


def _why(verdict: Verdict, shown: Shown) -> str:
    summary = verdict.summary or ""
    return f"level {shown.snapshot.level}" if summary.startswith("level ") else summary.partition(":")[0]


def _folded(names: Iterable[str]) -> list[str]:
    every = [(name, None) for name in names]
    return [shortened(every)] if every else []


def _few(links: list[str]) -> list[str]:
    if len(links) <= SHOWN_LINKS:
        return links
    return [*links[: SHOWN_LINKS - 1], f"{links[SHOWN_LINKS - 1]} and {len(links) - SHOWN_LINKS} more"]


def _blamed(shown: Shown, ink: Ink) -> list[str]:
    """The culprits once more, by their causes: a plan stands between them and the end."""
    by_cause: dict[str, dict[str, None]] = {}
    links: dict[str, list[str]] = {}
    for culprit in shown.verdicts.culprits:
        nodes = by_cause.setdefault(culprit.cause, {})
        if culprit.kind == "link":  # of which no end is guilty
            links.setdefault(culprit.cause, []).append("–".join(culprit.nodes))
        else:
            nodes.update(dict.fromkeys(culprit.nodes or ("cluster",)))
    texts = [
        f"{', '.join([*_folded(names), *_few(links.get(cause, []))])} {cause}" for cause, names in by_cause.items()
    ]
    for count in range(len(texts), 0, -1):
        more = f" · {len(texts) - count} more" if count < len(texts) else ""
        lines = ink.field("culprits", " · ".join(texts[:count]) + more, indent=10, style="failed")
        if len(lines) <= LINES or count == 1:
            return lines
    return []
