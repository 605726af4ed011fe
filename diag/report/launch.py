"""How is a plan told: does it fit, what fills the memory, which command, and why each flag?"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from diag.facts.plan import Estimate, Parameters, Plan
from diag.report.ink import Ink
from diag.units import GIB, seconds, size

STYLES = {"FITS": "passed", "RISKY": "not_measured", "NO": "failed", "UNKNOWN": "not_measured"}
TERMS = (
    ("weights", "weights_bytes"),
    ("KV", "kv_cache_bytes"),
    ("activation", "activation_bytes"),
    ("graphs", "cuda_graph_bytes"),
    ("other", "non_torch_bytes"),
)
SHORT = {
    "tensor_parallel_size": "TP", "pipeline_parallel_size": "PP", "data_parallel_size": "DP", "max_model_len": "length",
    "max_num_seqs": "sequences", "gpu_memory_utilization": "share",
}  # fmt: skip
LABEL, REASON = 7, 6
MOST_DISCARDED = 2


def plan_lines(plan: Plan, ink: Ink, *, explain: bool = False) -> list[str]:
    """The block of a plan; with ``explain`` every candidate, every estimate and every source."""
    engine = " ".join(filter(None, (plan.engine.name, plan.engine.version)))
    lines = [ink.rule(f"plan: {engine}"), *_verdict(plan, ink, 0 if explain else MOST_DISCARDED)]
    lines += ink.field("model", plan.sources["model"], indent=LABEL) if "model" in plan.sources else []
    lines += _memory(plan, ink) + _kv(plan, ink)
    lines += _command(plan, ink) + _reasons(plan, ink)
    if explain:
        return lines + _estimates(plan, ink) + _discarded(plan, ink, len(plan.discarded)) + _sources(plan, ink)
    return lines


def _verdict(plan: Plan, ink: Ink, discarded: int) -> list[str]:
    at = len(plan.verdict) + 2
    head, *rest = ink.wrap(plan.reason, indent=at)
    lines = [f"{ink(plan.verdict, STYLES[plan.verdict])}  {ink(head)}", *(" " * at + ink(line) for line in rest)]
    if plan.verdict in {"FITS", "RISKY"}:
        lines += [" " * at + line.strip() for line in _discarded(plan, ink, discarded)]
    return lines + (ink.field("lever", plan.lever, indent=LABEL) if plan.lever else [])


def _memory(plan: Plan, ink: Ink) -> list[str]:
    known = [(label, _mid(plan, field)) for label, field in TERMS]
    parts = [f"{label} {mid / GIB:.1f}" for label, mid in known if mid]
    return ink.field("GiB", " │ ".join(parts), indent=LABEL) if parts else []


def _mid(plan: Plan, field: str) -> int | None:
    estimate: Estimate = getattr(plan.memory, field)
    return estimate.mid


def _kv(plan: Plan, ink: Ink) -> list[str]:
    texts = []
    kv, length = plan.kv, plan.parameters.max_model_len
    if kv.capacity_tokens is not None:
        held = f"{kv.capacity_tokens:,} tokens"
        if length and kv.max_concurrency is not None:
            held += f": {kv.max_concurrency:,.1f} requests of {length:,}"
        texts.append(held + ".")
    if plan.load_seconds is not None:
        texts.append(f"Weights load in {seconds(plan.load_seconds)}.")
    elif plan.verdict in {"FITS", "RISKY"}:
        texts.append("Load time not known: no read speed was measured.")
    return ink.field("KV" if kv.capacity_tokens is not None else "", "  ".join(texts), indent=LABEL) if texts else []


def command_lines(argv: tuple[str, ...], env: Mapping[str, str], width: int) -> list[str]:
    """The command, its flags kept with their values, broken with backslashes so that it can be copied."""
    words = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    for word in argv:
        quoted = shlex.quote(word)
        if words and _is_flag(words[-1]) and not word.startswith("-"):
            words[-1] += f" {quoted}"
        else:
            words.append(quoted)
    lines = [""]
    for word in words:
        if lines[-1].strip() and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("    ")
        lines[-1] += word if not lines[-1].strip() else f" {word}"
    return lines


def _is_flag(word: str) -> bool:
    return word.startswith("--") and " " not in word and "=" not in word


def _command(plan: Plan, ink: Ink) -> list[str]:
    if not plan.recipe.argv:
        return ink.field("", plan.sources["recipe"], indent=LABEL) if "recipe" in plan.sources else []
    return [ink(line, "command") for line in command_lines(plan.recipe.argv, plan.recipe.env, ink.width)]


def _reasons(plan: Plan, ink: Ink) -> list[str]:
    """Beside each value that a measurement asked for, the measurement."""
    told = {**plan.recipe.env, **_values(plan.recipe.argv)}
    given = {name: value for name, value in told.items() if name in plan.sources}
    indent = 2 + max((len(value) for value in given.values()), default=0) + 2
    lines = []
    for name, value in given.items():
        lines += ink.field(f"  {value}", plan.sources[name], indent=min(indent, 24))
    return lines


def _values(argv: tuple[str, ...]) -> dict[str, str]:
    """Flag -> its value, or the flag itself where it has none."""
    values = {}
    for word, following in zip(argv, (*argv[1:], "--"), strict=False):
        if word.startswith("--"):
            values[word] = word if following.startswith("--") else following
    return values


def _discarded(plan: Plan, ink: Ink, most: int) -> list[str]:
    lines = []
    for candidate in plan.discarded[:most]:
        lines += ink.field("", f"{_layout(candidate.parameters)} discarded: {candidate.reason}", indent=LABEL)
    rest = len(plan.discarded) - most
    return [*lines, *([f"{'':{LABEL}}{rest} more: diag plan --explain"] if rest > 0 and most else [])]


def _layout(parameters: Parameters) -> str:
    values = {label: getattr(parameters, field) for field, label in SHORT.items()}
    told = [
        f"{label} {value}" for label, value in values.items() if value is not None and (label == "TP" or value != 1)
    ]
    return " ".join(told) or "this"


def _estimates(plan: Plan, ink: Ink) -> list[str]:
    """Each term of the budget: at least, probably, at most."""
    rows = [f"  {'':<12}{'low':>12}{'mid':>12}{'high':>12}"]
    for label, field in TERMS:
        estimate: Estimate = getattr(plan.memory, field)
        cells = "".join(f"{'?' if n is None else size(n):>12}" for n in (estimate.low, estimate.mid, estimate.high))
        rows.append(f"  {label:<12}{cells}")
    return ["", ink("memory of a GPU (the tightest rank)", "title"), *(ink(row) for row in rows), ""]


def _sources(plan: Plan, ink: Ink) -> list[str]:
    lines = ["", ink("sources", "title")]
    for name, source in plan.sources.items():
        lines += ink.field(f"  {name} ", source, indent=26) if len(name) < 23 else [f"  {name}", *_deep(source, ink)]  # noqa: PLR2004 - what fits left of the column
    return lines


def _deep(text: str, ink: Ink) -> list[str]:
    return [" " * 26 + ink(line) for line in ink.wrap(text, indent=26)]
