"""How is a plan told: does it fit, what fills the memory, what else was compared, and which command starts it?"""

from __future__ import annotations

from collections.abc import Sequence

from diag.facts.plan import KvCache, Plan
from diag.report.candidates import STYLES, candidate_lines, held_tokens, requests, told
from diag.report.command import launch_lines
from diag.report.ink import Ink
from diag.report.memory_split import TERMS, estimate, figures
from diag.report.parameters import each, tokens
from diag.units import seconds, size

LABEL = 7
MOST_DISCARDED = 2
APART = 0.01
"""What the engine's log says is shown where it is so far from the truth; a block of rounding is not worth a line."""
SOURCES, LONGEST_NAME = 26, 22


def plan_lines(plan: Plan, ink: Ink, *, explain: bool = False, brief: bool = False) -> list[str]:
    """The block of a plan; ``explain``: every candidate, every estimate and every source; ``brief``: no comparison."""
    lines = [
        ink.rule(_title(plan)),
        *_verdict(plan, ink),
        *caution_lines(plan.cautions, ink),
        *(_others(plan, ink) if brief else []),
    ]
    lines += ink.fields("lever", [plan.lever] if plan.lever else [], indent=LABEL)
    lines += ink.fields("model", [plan.sources["model"]] if "model" in plan.sources else [], indent=LABEL)
    lines += _memory(plan, ink) + _kv(plan, ink, explain=explain) + ink.fields("note", further(plan), indent=LABEL)
    table = [] if brief else candidate_lines(plan, ink, every=explain)
    if explain:
        blocks = [
            launch_lines(plan, ink),
            _estimates(plan, ink),
            _titled("candidates", table, ink),
            _sources(plan, ink),
        ]
    else:
        blocks = [table, launch_lines(plan, ink)]
    return lines + [line for block in blocks if block for line in (["", *block] if table or explain else block)]


def caution_lines(cautions: Sequence[str], ink: Ink) -> list[str]:
    """Before any figure."""
    return [line for caution in cautions for line in ink.field("note", caution, indent=LABEL, style="advice")]


def further(plan: Plan) -> list[str]:
    """Its notes but for those that were told first."""
    return [note for note in plan.notes if note not in plan.cautions]


def engine_name(plan: Plan) -> str:
    return " ".join(filter(None, (plan.engine.name, plan.engine.version)))


def _verdict(plan: Plan, ink: Ink) -> list[str]:
    at = len(plan.verdict) + 2
    head, *rest = ink.wrap(plan.reason, indent=at)
    return [f"{ink(plan.verdict, STYLES[plan.verdict])}  {ink(head)}", *(" " * at + ink(line) for line in rest)]


def _title(plan: Plan) -> str:
    goal = plan.sources.get("goal")
    return f"plan: {engine_name(plan)}, {goal}" if goal else f"plan: {engine_name(plan)}"


def _others(plan: Plan, ink: Ink) -> list[str]:
    """Where there is no room to compare: the first of the discarded in a sentence each."""
    if plan.verdict not in {"FITS", "RISKY"}:
        return []
    lines, indent = [], len(plan.verdict) + 2
    for one in plan.discarded[:MOST_DISCARDED]:
        lines += ink.field("", f"{told(one, plan)} discarded: {one.reason}", indent=indent)
    rest = len(plan.discarded) - MOST_DISCARDED
    return [*lines, *([f"{'':{indent}}{rest:,} more: diag plan --explain"] if rest > 0 else [])]


def _memory(plan: Plan, ink: Ink) -> list[str]:
    """Broken at the bars only."""
    lines: list[str] = []
    for part in figures(plan.memory):
        if lines and LABEL + len(lines[-1]) + len(part) + 5 <= ink.width:
            lines[-1] += f" │ {part}"
        else:
            lines.append(part)
    ends = [" │"] * (len(lines) - 1) + [""]
    return [f"{'' if at else 'GiB':{LABEL}}{ink(line + ends[at])}" for at, line in enumerate(lines)]


def _kv(plan: Plan, ink: Ink, *, explain: bool) -> list[str]:
    kv, length = plan.kv, plan.parameters.max_model_len
    lines, texts = [], []
    if kv.capacity_tokens is not None:
        count, most = requests(kv, plan.parameters), plan.parameters.max_num_seqs
        held = f"{held_tokens(kv, plan.parameters)} tokens"
        each_holds = "" if count is None else each(f"{count:,.1f}", plan.parameters)
        held += f": {each_holds} requests of {tokens(length)}" if each_holds and length else ""
        texts.append(f"{held}, {most:,} run at once." if count and most and most < count else f"{held}.")
    if plan.load_seconds is not None:
        texts.append(f"Weights load in {seconds(plan.load_seconds)}.")
    elif plan.verdict in {"FITS", "RISKY"}:
        texts.append("Load time not known: no read speed was measured.")
    if texts:
        lines += ink.field("KV" if kv.capacity_tokens is not None else "", "  ".join(texts), indent=LABEL)
    if explain and kv.bytes_per_token:
        lines += ink.field("", f"{size(kv.bytes_per_token)} a token and GPU", indent=LABEL)
    return lines + (_log(kv, length, ink) if explain or _differs(kv) else [])


def _differs(kv: KvCache) -> bool:
    if kv.printed_tokens is None or kv.capacity_tokens is None:
        return False
    return abs(kv.printed_tokens - kv.capacity_tokens) > APART * kv.capacity_tokens


def _log(kv: KvCache, length: int | None, ink: Ink) -> list[str]:
    """What the engine will print of its KV cache when it starts."""
    if kv.printed_tokens is None:
        return []
    line = f"will print {kv.printed_tokens:,} tokens"
    if kv.blocks and kv.block_size:
        line += f" ({kv.blocks:,} blocks of {kv.block_size:,})"
    if kv.max_concurrency is not None and length:
        line += f", {kv.max_concurrency:,.2f} requests of {tokens(length)}"
    if _differs(kv):
        line += f"; the truth is {kv.capacity_tokens:,}"
    return ink.field("log", line, indent=LABEL)


def _titled(title: str, lines: list[str], ink: Ink) -> list[str]:
    return [ink(title, "title"), *lines] if lines else []


def _estimates(plan: Plan, ink: Ink) -> list[str]:
    """Each term of the budget: at least, probably, at most."""
    rows = [f"  {'':<12}{'low':>12}{'mid':>12}{'high':>12}"]
    for label, field in TERMS:
        found = estimate(plan.memory, field)
        cells = "".join(f"{'?' if n is None else size(n):>12}" for n in (found.low, found.mid, found.high))
        rows.append(f"  {label:<12}{cells}")
    for label, n_bytes in (("held", plan.memory.held_bytes), ("total", plan.memory.total_bytes)):
        rows += [f"  {label:<12}{'':12}{size(n_bytes):>12}"] if n_bytes is not None else []
    return _titled("memory of the tightest rank", [ink(row) for row in rows], ink)


def _sources(plan: Plan, ink: Ink) -> list[str]:
    lines: list[str] = []
    for name, source in plan.sources.items():
        if len(name) <= LONGEST_NAME:
            lines += ink.field(f"  {name} ", source, indent=SOURCES)
        else:
            lines += [f"  {ink(name)}", *(" " * SOURCES + ink(line) for line in ink.wrap(source, indent=SOURCES))]
    return _titled("sources", lines, ink)
