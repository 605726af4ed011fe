"""Options that several commands share, and how a size or a deadline is read from what was typed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from diag.units import GIB, KIB, parse_size
from diag.wishes import DEADLINES_S

F = TypeVar("F", bound=Callable[..., Any])
FAIL_ON = ("failed", "missing", "never")
RUNTIMES = ("docker", "nerdctl", "podman")
FOLDER = click.Path(path_type=Path)
LONGEST_S = 7 * 86400.0
LONGEST_BURN_MINUTES = 24 * 60.0
SMALLEST_MESSAGE_BYTES, LARGEST_MESSAGE_BYTES = 8 * KIB, 8 * GIB


def as_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """``64MiB`` -> bytes."""
    if value is None:
        return None
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    except OverflowError as error:  # hundreds of digits
        raise click.BadParameter(f"'{value[:20]}…' is no size; expected e.g. 64GiB", ctx, param) from error


def as_message_size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """``64MiB`` -> bytes, as much as can be measured."""
    n_bytes = as_size(ctx, param, value) or 0
    if n_bytes < SMALLEST_MESSAGE_BYTES:
        raise click.BadParameter(f"{value!r}: too small to be measured; expected at least 8KiB", ctx, param)
    if n_bytes > LARGEST_MESSAGE_BYTES:
        raise click.BadParameter(f"{value!r}: too large for a message; expected at most 8GiB", ctx, param)
    return n_bytes


def as_seconds(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """``nan`` and ``inf`` are floats, but no time to wait."""
    if value is not None and not 0 < value < LONGEST_S:
        raise click.BadParameter(f"{value:g} is no number of seconds; expected e.g. 5", ctx, param)
    return value


def as_minutes(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """``nan`` is a float too, and within any range."""
    if value is not None and not 0 < value <= LONGEST_BURN_MINUTES:
        raise click.BadParameter(f"{value:g} is no number of minutes up to a day's; expected e.g. 10", ctx, param)
    return value


def as_deadlines(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    """``facts=60`` -> stage and seconds."""
    deadlines_s = {}
    for value in values:
        stage, equals, text = value.partition("=")
        if not equals or stage not in DEADLINES_S:
            what = f"{value!r}: expected STAGE=SECONDS, STAGE one of {', '.join(DEADLINES_S)}"
            raise click.BadParameter(what, ctx, param)
        try:
            deadlines_s[stage] = float(text.removesuffix("s"))
        except ValueError:
            deadlines_s[stage] = 0.0
        if not 0 < deadlines_s[stage] < LONGEST_S:
            what = f"{value!r}: {text!r} is no number of seconds; expected e.g. {stage}=60"
            raise click.BadParameter(what, ctx, param)
    return deadlines_s


def excluding(command: F) -> F:
    """What the plan is not for: --exclude."""
    text = "Plan without these nodes and GPUs, e.g. gpu03:5,gpu[07-08]."
    return click.option("--exclude", metavar="NODE[:GPU],...", help=text)(command)


def judging(command: F) -> F:
    """How to judge: -k, -x, --checks, --baseline, --fail-on."""
    for option in (
        click.option("--baseline", type=FOLDER, metavar="RUN",
                     help="An earlier run, or its Snapshot: is each GPU still as fast as it was?"),
        click.option("--fail-on", type=click.Choice(FAIL_ON), default="failed", show_default=True,
                     help="What makes the exit status other than 0; missing: optional facts too."),
        click.option("--checks", "folders", type=FOLDER, multiple=True, metavar="DIR",
                     help="A folder with checks of your own, beside those of diag."),
        click.option("-x", "--exitfirst", is_flag=True, help="Stop at the first check that fails."),
        click.option("-k", "keyword", default="", metavar="EXPR", help="Only the checks whose name or file matches."),
    ):  # fmt: skip
        command = option(command)
    return command


def telling(command: F) -> F:
    """How to tell the result: -v, -q, --json, --junit."""
    for option in (
        click.option("-q", "--quiet", is_flag=True, help="Failures, counts and how it ended only."),
        click.option("-v", "--verbose", is_flag=True, help="Every check and every subject."),
        click.option("--junit", type=FOLDER, metavar="FILE", help="Write JUnit XML to FILE."),
        click.option("--json", "as_json", is_flag=True, help="Print verdicts.json and nothing else on stdout."),
    ):
        command = option(command)
    return command
