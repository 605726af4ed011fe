"""Which candidates were compared, what would each of them hold, and why was each other one discarded?"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from rich.console import RenderableType

from diag.facts.plan import Discarded, KvCache, MemorySplit, Parameters, Plan
from diag.report.grid import Column, cell, grid_lines, painted
from diag.report.ink import Ink
from diag.report.memory_split import MemoryBar, figures, free_bytes, legend
from diag.report.parameters import differences, each, layout, tokens
from diag.units import size

STYLES = {"FITS": "passed", "RISKY": "not_measured", "NO": "failed", "UNKNOWN": "not_measured"}
MOST, MOST_REFUSED = 3, 2
"""So many are shown of those that got as far as memory, and of the reasons why others did not; or all of them."""
MOST_NAMED = 4
"""Of those that are refused for one reason; with every candidate asked for, all."""
LEAST_FOR_BARS, LEAST_FOR_REQUESTS = 72, 52
"""Columns of a terminal."""
INDENT = 4
Candidate = Plan | Discarded
"""The chosen one, or one of the others."""


def candidate_lines(plan: Plan, ink: Ink, *, every: bool = False) -> list[str]:
    """The chosen one and the best of the others, or all of them; none where nothing else was tried."""
    weighed = [one for one in plan.discarded if one.verdict is not None]
    refused = [one for one in plan.discarded if one.verdict is None]
    rows = weighed if every else _best(plan, weighed)
    groups = _alike(refused, str if every else _unnumbered)[: len(refused) if every else MOST_REFUSED]
    lines = _table(plan, rows, ink) if rows else []
    for group in groups:
        lines += _refused(group, plan, ink, most=len(group) if every else MOST_NAMED)
    rest = len(plan.discarded) - len(rows) - sum(len(group) for group in groups)
    lines += [ink(f"  {rest:,} more: diag plan --explain", "dim")] if rest else []
    return lines + (_legend([plan.memory, *(one.memory for one in rows)], ink) if rows else [])


def told(one: Discarded, plan: Plan) -> str:
    """Its layout, and what else it sets otherwise."""
    other = differences(one.parameters, plan.parameters)
    return ", ".join(filter(None, (layout(one.parameters), other))) or "this"


def held_tokens(kv: KvCache, parameters: Parameters) -> str:
    return "" if kv.capacity_tokens is None else each(f"{kv.capacity_tokens:,}", parameters)


def requests(kv: KvCache, parameters: Parameters) -> float | None:
    """Of the whole context, that the KV cache of a replica really holds at once."""
    if kv.capacity_tokens is None or not parameters.max_model_len:
        return None
    return kv.capacity_tokens / parameters.max_model_len


def _alike(refused: Iterable[Discarded], reason_of: Callable[[str], str]) -> list[list[Discarded]]:
    groups: dict[str, list[Discarded]] = defaultdict(list)
    for one in refused:
        groups[reason_of(one.reason)].append(one)
    return list(groups.values())


def _unnumbered(reason: str) -> str:
    """What is refused for the same reason is told with the figures of one of them."""
    return re.sub(r"[\d.,]*\d", "#", reason)


def _refused(group: Sequence[Discarded], plan: Plan, ink: Ink, *, most: int) -> list[str]:
    first, *others = group
    if all(one.reason == first.reason for one in others):
        return _indented(f"{_named(group, plan, most)}: {first.reason}", ink, 2)
    return _indented(f"{told(first, plan)}: {first.reason}; likewise {_named(others, plan, most)}", ink, 2)


def _named(several: Iterable[Discarded], plan: Plan, most: int) -> str:
    names = list(dict.fromkeys(told(one, plan) for one in several))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _best(plan: Plan, weighed: Sequence[Discarded]) -> list[Discarded]:
    """The first of each other kind; others of the same kind only where there are too few of these."""
    kinds = {_kind(plan.parameters): -1}
    for position, one in enumerate(weighed):
        kinds.setdefault(_kind(one.parameters), position)
    first = [position for position in kinds.values() if position >= 0]
    others = [position for position in range(len(weighed)) if position not in set(first)]
    return [weighed[position] for position in sorted([*first, *others][:MOST])]


def _kind(parameters: Parameters) -> tuple[str, str | None, str | None]:
    return layout(parameters), parameters.quantization, parameters.kv_cache_dtype


def _table(plan: Plan, others: Sequence[Discarded], ink: Ink) -> list[str]:
    """Beneath each row why it was not chosen."""
    rows: list[Candidate] = [plan, *others] if plan.verdict != "UNKNOWN" else [*others]
    bars = _have_bars([row.memory for row in rows], ink)
    header, *lines = _grid(rows, ink, bars=bars)
    told_lines = [header]
    for row, line in zip(rows, lines, strict=True):
        told_lines += [line, *_beneath(row, plan, ink, bars=bars)]
    return told_lines


def _grid(rows: Sequence[Candidate], ink: Ink, *, bars: bool) -> list[str]:
    length = _common_length(rows)
    columns = [Column(), Column(), Column("KV tokens", right=True)]
    if with_requests := ink.width >= LEAST_FOR_REQUESTS:
        columns.append(Column(f"{tokens(length)} requests" if length else "requests", right=True))
    if bars:
        columns.append(Column(_memory_title(rows), wide=True))
    cells: list[list[RenderableType]] = []
    for row in rows:
        verdict = row.verdict or ""
        mark = ">" if isinstance(row, Plan) else " "
        cells.append([
            cell(f"{mark} {layout(row.parameters) or 'this'}", "title" if isinstance(row, Plan) else ""),
            cell(verdict, STYLES.get(verdict, "")),
            cell(held_tokens(row.kv, row.parameters)),
            *([cell(_requests(row, length))] if with_requests else []),
            *([MemoryBar(row.memory)] if bars else []),
        ])  # fmt: skip
    return grid_lines(columns, cells, ink)


def _requests(row: Candidate, length: int | None) -> str:
    count = requests(row.kv, row.parameters)
    if count is None:
        return ""
    held = each(f"{count:,.1f}", row.parameters)
    return held if length else f"{held} of {tokens(row.parameters.max_model_len or 0)}"


def _common_length(rows: Sequence[Candidate]) -> int | None:
    """The context of all those whose requests are counted, where it is the same."""
    lengths = {row.parameters.max_model_len for row in rows if requests(row.kv, row.parameters) is not None}
    return lengths.pop() if len(lengths) == 1 else None


def _memory_title(rows: Sequence[Candidate]) -> str:
    totals = {row.memory.total_bytes for row in rows} - {None}
    total = totals.pop() if len(totals) == 1 else None
    return "memory of a GPU" if total is None else f"memory of a GPU, {size(total)}"


def _beneath(row: Candidate, plan: Plan, ink: Ink, *, bars: bool) -> list[str]:
    """What is set otherwise and why it lost; and in figures what no bar shows."""
    if isinstance(row, Plan):
        return []
    other = differences(row.parameters, plan.parameters)
    lines = _indented(f"{other}: {row.reason}" if other else row.reason, ink, INDENT)
    parts = [] if bars else figures(row.memory)
    return lines + (_indented(f"GiB: {', '.join(parts)}", ink, INDENT) if parts else [])


def _have_bars(memories: Iterable[MemorySplit], ink: Ink) -> bool:
    return ink.width >= LEAST_FOR_BARS and any(free_bytes(memory) is not None for memory in memories)


def _legend(memories: Sequence[MemorySplit], ink: Ink) -> list[str]:
    if not _have_bars(memories, ink):
        return []
    return ["  " + line for line in painted(legend(memories, coloured=ink.coloured), ink)]


def _indented(text: str, ink: Ink, indent: int) -> list[str]:
    return [" " * indent + ink(line, "dim") for line in ink.wrap(text, indent=indent)]
