"""``diag plan``: launch parameters from a Snapshot, or from declared hardware."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from diag.cli.options import as_size, excluding

GOALS = ("stable", "latency", "throughput", "context")


def _as_tokens(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    from diag.cli.wanting import as_tokens  # noqa: PLC0415 - `diag plan --help` needs no planner

    return as_tokens(ctx, param, value)


def _as_rate(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    from diag.cli.wanting import as_rate  # noqa: PLC0415 - as above

    return as_rate(ctx, param, value)


@click.command("plan")
@click.argument("snapshot", type=click.Path(path_type=Path), required=False)
@click.option("--model", metavar="DIR|FILE|NAME", help="Model directory, config.json, GGUF file, or a bundled name.")
@click.option(
    "--engine",
    default="vllm",
    show_default=True,
    metavar="NAME[==VERSION]|all",
    help="What is to be launched: vllm, sglang, lmdeploy, ollama; all compares them.",
)
@click.option(
    "--for",
    "goal",
    type=click.Choice(GOALS),
    default="stable",
    show_default=True,
    help="What the plan is to be good for.",
)
@click.option("--context", callback=_as_tokens, metavar="TOKENS", help="Longest request, prompt and answer, e.g. 32k.")
@click.option("--concurrency", type=click.IntRange(1, 1_000_000), metavar="N", help="Requests at once.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PARAMETER=VALUE",
    help="Settle a parameter of plan.json, e.g. tensor_parallel_size=8; only the rest may vary.",
)
@excluding
@click.option("--json", "as_json", is_flag=True, help="Print plan.json and nothing else; of all engines a list.")
@click.option("--explain", is_flag=True, help="Every candidate, every estimate and the source of each figure.")
@click.option("--hardware", metavar="TEXT", help="Plan for hardware that is not here, e.g. 2x8xH100-80GB.")
@click.option("--gpu-memory", callback=as_size, metavar="SIZE", help="Total memory of a GPU of --hardware, e.g. 80GiB.")
@click.option("--gpu-free", callback=as_size, metavar="SIZE", help="What of it is free, e.g. 78GiB.")
@click.option("--compute-capability", metavar="X.Y", help="Of a GPU of --hardware, e.g. 9.0.")
@click.option("--link", callback=_as_rate, metavar="RATE", help="Between nodes of --hardware, e.g. 100Gbit/s.")
def command(*, snapshot: Path | None, **asked: Any) -> int:
    """Plan for SNAPSHOT, a file or a run directory; without one, for the last run.

    Exit status: 0 FITS or RISKY, 1 NO, 3 UNKNOWN, 2 asked wrongly.
    """
    from diag.cli import planning  # noqa: PLC0415 - `diag plan --help` needs no planner

    return planning.plan_for(snapshot, planning.Order(**asked))
