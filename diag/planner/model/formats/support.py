"""Can an engine run a format of weights, or of the KV cache, on a device: natively, slower, or not at all?

Formats are the names of ``stored.py``, ``bf16`` and ``fp16`` for what is not quantized, ``kv_fp8`` and its like for the
cache, which is a decision of its own. What no rule of ``support_rules.py`` speaks of is unknown, never assumed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from diag.planner.model.formats.support_rules import RULES, Kind, Rule

WORDS: Mapping[Kind, str] = {
    "native": "runs natively",
    "weight_only": "saves memory only, slower",
    "unsupported": "cannot run",
    "unknown": "not known",
}


CALLED: Mapping[str, str] = {
    "mla": "latent attention (MLA)",
    "sparse_mla": "sparse latent attention",
    "compressed_attention": "attention over compressed tokens",
    "wheels": "what was built for PyPI",
}
"""Names that are no formats."""


class Support(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    why: str
    source: str


def how(
    engine: str,
    version: str | None,
    capability: int | None,
    vendor: str,
    format_name: str,
    *,
    experts: bool = False,
    method: str | None = None,
) -> Support:
    """``version`` None: the newest; ``capability``: compute capability, 90 for 9.0; None: not known, or has none.

    AMD's is ROCm's: 94 for gfx942. ``experts``: the weights are those of routed experts; ``method``: the
    ``quant_method`` of the checkpoint.
    """
    spoken = [
        rule
        for rule in RULES
        if (rule.engine, rule.vendor) == (engine, vendor)
        and format_name in rule.formats
        and (experts or not rule.experts)
        and rule.method in {"", method}
    ]
    rules = [rule for rule in spoken if version is None or release(rule.since) <= release(version)]
    name = f"{CALLED.get(format_name, format_name)} with {engine}{f' {version}' if version else ''} on {vendor}"
    if not rules:
        why = f"{name}: nothing is known" + (f" before {spoken[0].since}" if spoken else "")
        return Support(kind="unknown", why=why, source="")
    rule = max(rules, key=lambda rule: (bool(rule.method), release(rule.since), rule.experts))
    if capability is None and any(least for least, _ in rule.steps):
        return Support(kind="unknown", why=f"{name}: the compute capability is not known", source=rule.source)
    return _at(rule, capability or 0, name)


def _at(rule: Rule, capability: int, name: str) -> Support:
    """Below the first step it does not run; without steps the engine does not read the format."""
    if not rule.steps:
        told = rule.note or f"dropped in {rule.since}"
        return Support(kind="unsupported", why=f"{name}: cannot run; {told}", source=rule.source)
    first = rule.steps[0][0]
    kind = _kind(rule, capability)
    needed = f"needs compute capability {first / 10:.1f}" if capability < first else ""
    note = next((told for least, told in reversed(rule.notes) if capability >= least), rule.note)
    told = "; ".join(part for part in (WORDS[kind], needed, note if kind != "native" else "") if part)
    on = f" sm{capability}" if rule.vendor == "nvidia" else f" of {capability / 10:.1f}" if first else ""
    return Support(kind=kind, why=f"{name}{on}: {told}", source=rule.source)


def _kind(rule: Rule, capability: int) -> Kind:
    reached: list[Kind] = [kind for least, kind in rule.steps if capability >= least]
    return reached[-1] if reached else "unsupported"


def release(version: str) -> tuple[int, ...]:
    """Of a release, without what follows it: ``0.11.0rc1`` counts as 0.11.0."""
    release = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(number) for number in release[0].split(".")) if release else ()
