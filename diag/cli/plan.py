"""``diag plan``: launch parameters from a Snapshot, or from declared hardware."""

from __future__ import annotations

from pathlib import Path

import click

from diag.cli.options import as_size


@click.command("plan")
@click.argument("snapshot", type=click.Path(path_type=Path), required=False)
@click.option("--model", metavar="DIR|FILE|NAME", help="Model directory, its config.json, or a bundled model's name.")
@click.option("--engine", default="vllm", show_default=True, metavar="NAME[==VERSION]", help="What is to be launched.")
@click.option("--json", "as_json", is_flag=True, help="Print plan.json and nothing else on stdout.")
@click.option("--explain", is_flag=True, help="Every candidate, every estimate and the source of each figure.")
@click.option("--hardware", metavar="TEXT", help="Plan for hardware that is not here, e.g. 2x8xH100-80GB.")
@click.option("--gpu-memory", callback=as_size, metavar="SIZE", help="Memory of a GPU of --hardware, e.g. 80GiB.")
def command(
    *, snapshot: Path | None, model: str | None, engine: str, as_json: bool, explain: bool, hardware: str | None,
    gpu_memory: int | None,
) -> int:  # fmt: skip
    """Plan for SNAPSHOT, a file or a run directory; without one, for the last run.

    Exit status: 0 FITS or RISKY, 1 NO, 3 UNKNOWN, 2 asked wrongly.
    """
    from diag.cli import planning  # noqa: PLC0415 - `diag plan --help` needs no planner

    source = planning.snapshot_for(snapshot, hardware, gpu_memory)
    return planning.plan_for(source, model, engine, as_json=as_json, explain=explain)
