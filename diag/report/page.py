"""One page that answers: may I start? If not, who, what, and the next command to type."""

from __future__ import annotations

from diag.inventory import fold
from diag.report.asking import asked_lines
from diag.report.checks import check_lines, verbose_lines
from diag.report.ending import last_lines
from diag.report.findings import advice_lines, broken_lines, culprit_lines, failed_lines, not_measured_lines
from diag.report.gpu_speeds import gpu_lines
from diag.report.ink import Ink
from diag.report.launch import plan_lines
from diag.report.places import number_of
from diag.report.shown import Shown
from diag.report.stages import head_lines, stage_lines
from diag.report.survivors import survivor_lines, unwatched_lines
from diag.report.tally import Tally, tally
from diag.report.together import together_lines
from diag.units import seconds

COUNTED = (
    ("passed", "passed"), ("failed", "failed"), ("not_measured", "not measured"), ("skipped", "not applicable"),
    ("advice", "advice"), ("broken", "broken"),
)  # fmt: skip
ALWAYS = ("passed", "failed", "not_measured", "skipped")
"""Said also where there are none: a reader looks for them."""


def page(shown: Shown, ink: Ink) -> list[str]:
    """All lines, painted for ``ink``."""
    counted = tally(shown.verdicts)
    if shown.verbosity < 0:
        return [*failed_lines(shown, counted, ink), *broken_lines(counted, ink), *_unreached(shown, ink),
                *_counts(shown, counted, ink), *last_lines(shown, counted, ink)]  # fmt: skip
    blocks = [
        [*stage_lines(shown, ink), *asked_lines(shown, ink), *head_lines(shown, ink)],
        verbose_lines(shown, counted, ink) if shown.verbosity > 0 else check_lines(shown, counted, ink),
        _speeds(shown, ink) if shown.verbosity > 0 else [],
        failed_lines(shown, counted, ink),
        broken_lines(counted, ink),
        advice_lines(shown, counted, ink),
        not_measured_lines(shown, counted, ink),
        [
            *culprit_lines(shown, ink),
            *survivor_lines(shown, ink),
            *unwatched_lines(shown, ink),
            *_not_reached(shown, ink),
            *_counts(shown, counted, ink),
        ],
        plan_lines(shown.plan, ink, brief=True) if shown.plan is not None else [],
        last_lines(shown, counted, ink),
    ]
    return [line for block in blocks if block for line in [*block, ""]][:-1]


def _speeds(shown: Shown, ink: Ink) -> list[str]:
    """All that was measured inside the nodes."""
    lines = [*gpu_lines(shown.snapshot, ink), *together_lines(shown.snapshot, ink)]
    return [ink.rule("speeds inside the nodes"), *lines] if lines else []


def _counts(shown: Shown, counted: Tally, ink: Ink) -> list[str]:
    told = [
        (f"{counted.counts[outcome]:,} {word}", outcome if counted.counts[outcome] else "dim")
        for outcome, word in COUNTED
        if counted.counts[outcome] or outcome in ALWAYS
    ]
    took_s = sum(stage.seconds for stage in shown.verdicts.stages)
    if took_s:
        told[-1] = f"{told[-1][0]} in {seconds(took_s)}", told[-1][1]
    return ink.joined(told)


def _unreached(shown: Shown, ink: Ink) -> list[str]:
    """Who was not reached and why, where nothing else says it."""
    whys: dict[tuple[str, str], list[str]] = {}
    for node in shown.snapshot.nodes:
        if node.reach.outcome != "answered":
            whys.setdefault((node.reach.summary, node.reach.do), []).append(node.name)
    texts = [f"{fold(names)}: {why}" + (f"; {do}" if do else "") for (why, do), names in whys.items()]
    return ink.fields("not reached", texts, indent=13)


def _not_reached(shown: Shown, ink: Ink) -> list[str]:
    """Said even where no culprit does."""
    named = {name for culprit in shown.verdicts.culprits for name in culprit.nodes}
    lost = [node.name for node in shown.snapshot.nodes if node.reach.outcome != "answered"]
    silent = [name for name in lost if name not in named]
    if not silent:
        return []
    of = f"{len(silent)} of {number_of(len(shown.snapshot.nodes), 'node')}"
    return ink.field("not reached", f"{fold(silent)} ({of})", indent=13, style="not_measured")
