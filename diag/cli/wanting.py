"""How is it read from what was typed what a plan is to be good for: goal, lengths, counts, settled parameters?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import click
import msgspec

from diag.errors import DiagError
from diag.facts.plan import Parameters
from diag.planner.wanted import GOALS, Goal, Wanted
from diag.units import parse_rate

TOKENS = {"": 1, "k": 1024, "m": 1024**2}
NOT_BELOW_0 = frozenset({"cpu_offload_gib"})
MOST: dict[str, float] = {"gpu_memory_utilization": 1}
KINDS: dict[str, type] = {"expert_parallel": bool, "enforce_eager": bool, "kv_cache_dtype": str, "dtype": str,
                          "quantization": str, "gpu_memory_utilization": float, "cpu_offload_gib": float,
                          "speculative_method": str, "speculative_model": str, "backend": str}  # fmt: skip
"""Of the parameters that are no number of something."""
POWERS_OF_TWO = frozenset({"block_size"})
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def as_tokens(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """``32k`` -> 32768."""
    if value is None:
        return None
    tokens = _tokens(value)
    if tokens is None:
        raise click.BadParameter(f"{value!r} is no number of tokens; expected e.g. 32k or 32768", ctx, param)
    return tokens


def as_rate(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """``100Gbit/s`` -> bytes per second."""
    if value is None:
        return None
    try:
        return parse_rate(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def wanted(goal: Goal, context: int | None, concurrency: int | None, settings: Sequence[str]) -> Wanted:
    """Raises DiagError."""
    pinned = _pinned(settings)
    if pinned.max_model_len and context and pinned.max_model_len != context:
        raise DiagError("--context", f"{context} and --set max_model_len={pinned.max_model_len}", do="give one of them")
    if pinned.max_num_seqs and concurrency and pinned.max_num_seqs < concurrency:
        what = f"{concurrency} requests at once and --set max_num_seqs={pinned.max_num_seqs}"
        raise DiagError("--concurrency", what, do="give one of them, or set more")
    tokens, seqs = pinned.max_num_batched_tokens, pinned.max_num_seqs or concurrency
    if tokens and seqs and tokens < seqs:
        what = f"max_num_batched_tokens={tokens} and {seqs} requests at once, each of which takes a token"
        raise DiagError("--set", what, do="set more tokens, or fewer requests")
    return Wanted(goal=goal, context=context, concurrency=concurrency, pinned=pinned)


def _pinned(settings: Sequence[str]) -> Parameters:
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not text.strip():
            raise DiagError("--set", f"{setting!r}: expected PARAMETER=VALUE, e.g. tensor_parallel_size=8")
        if name not in Parameters.__struct_fields__:
            raise DiagError("--set", f"{name!r} is no parameter of a plan", do=_near(name))
        if name in values:
            raise DiagError("--set", f"{name} twice", do="give it once")
        values[name] = _value(name, text.strip())
    return msgspec.convert(values, Parameters)


def _near(name: str) -> str:
    names = Parameters.__struct_fields__
    near = get_close_matches(name, names, n=3, cutoff=0.4)
    return f"{'near' if near else 'known'}: {', '.join(near or names)}"


def _value(name: str, text: str) -> Any:
    kind = KINDS.get(name, int)
    if kind is str:
        return text
    value = BOOLEANS.get(text.lower()) if kind is bool else _number(text) if kind is float else _tokens(text)
    if name in POWERS_OF_TWO and (not isinstance(value, int) or value & (value - 1)):
        raise DiagError("--set", f"{name}={text}: expected a power of two, e.g. 16")
    if value is None or (kind is not bool and not _within(name, value)):
        raise DiagError("--set", f"{name}={text}: expected {_expected(name, kind)}")
    return value


def _within(name: str, value: float) -> bool:
    return (value > 0 or name in NOT_BELOW_0) and value <= MOST.get(name, value)


def _expected(name: str, kind: type) -> str:
    if kind is bool:
        return "true or false"
    if name in MOST:
        return f"a number above 0 and at most {MOST[name]:g}"
    return "a number not below 0" if name in NOT_BELOW_0 else "a number of 1 or more"


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?|\.\d{1,9}", text) else None


def _tokens(text: str) -> int | None:
    match = re.fullmatch(r"(\d{1,12})\s*([kKmM]?)", text.strip())
    tokens = int(match[1]) * TOKENS[match[2].lower()] if match else 0
    return tokens or None


__all__ = ["GOALS", "Goal", "as_rate", "as_tokens", "wanted"]
