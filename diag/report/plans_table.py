"""How do the plans of several engines compare, and which command starts each?"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from diag.facts.plan import Plan
from diag.report.candidates import STYLES, held_tokens, requests
from diag.report.command import launch_lines
from diag.report.grid import Column, cell, grid_lines, painted
from diag.report.ink import Ink
from diag.report.launch import LABEL, caution_lines, engine_name, further
from diag.report.memory_split import MemoryBar, free_bytes, legend
from diag.report.parameters import batch, each, layout

LEAST_FOR_PARAMETERS, LEAST_FOR_BARS = 64, 92
"""Columns of a terminal."""
INDENT = 4


def plans_table(plans: Sequence[Plan], ink: Ink) -> list[str]:
    """A row for each engine, beneath it why; then what all of them should know, and each command."""
    header, *rows = _grid(plans, ink)
    lines = [ink.rule("plans"), *caution_lines(list(dict.fromkeys(c for p in plans for c in p.cautions)), ink), header]
    for plan, row in zip(plans, rows, strict=True):
        lines += [row, *_beneath(plan, ink)]
    lines += _legend(plans, ink)
    common = [note for note in further(plans[0]) if all(note in plan.notes for plan in plans)] if len(plans) > 1 else []
    lines += ink.fields("note", common, indent=LABEL)
    for plan in plans:
        own = [note for note in further(plan) if note not in common]
        if block := [*ink.fields("note", own, indent=LABEL), *launch_lines(plan, ink)]:
            lines += ["", ink(engine_name(plan), "title"), *block]
    return lines


def _grid(plans: Sequence[Plan], ink: Ink) -> list[str]:
    wide, bars = ink.width >= LEAST_FOR_PARAMETERS, ink.width >= LEAST_FOR_BARS
    columns = [
        *(Column(), Column()), *([Column("parameters")] if wide else []), Column("KV tokens", right=True),
        Column("requests", right=True), *([Column("memory of a GPU", wide=True)] if bars else []),
    ]  # fmt: skip
    rows = [[*_cells(plan, wide), *([MemoryBar(plan.memory)] if bars else [])] for plan in plans]
    return grid_lines(columns, rows, ink)


def _cells(plan: Plan, wide: bool) -> list[RenderableType]:
    count = requests(plan.kv, plan.parameters)
    told = ", ".join(filter(None, (layout(plan.parameters), batch(plan.parameters))))
    return [
        cell(engine_name(plan), "title"),
        cell(plan.verdict, STYLES[plan.verdict]),
        *([cell(told if plan.verdict != "UNKNOWN" else "")] if wide else []),
        cell(held_tokens(plan.kv, plan.parameters)),
        cell("" if count is None else each(f"{count:,.1f}", plan.parameters)),
    ]


def _beneath(plan: Plan, ink: Ink) -> list[str]:
    texts = [plan.reason, *([f"lever: {plan.lever}"] if plan.lever else [])]
    return [" " * INDENT + ink(line, "dim") for text in texts for line in ink.wrap(text, indent=INDENT)]


def _legend(plans: Sequence[Plan], ink: Ink) -> list[str]:
    memories = [plan.memory for plan in plans if free_bytes(plan.memory) is not None]
    shown = bool(memories) and ink.width >= LEAST_FOR_BARS
    return [f"  {line}" for line in painted(legend(memories, coloured=ink.coloured), ink)] if shown else []
