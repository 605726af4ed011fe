"""``diag check``: judge a Snapshot again, without measuring."""

from __future__ import annotations

from pathlib import Path

import click

from diag.cli.options import judging, telling


@click.command("check")
@click.argument("snapshot", type=click.Path(path_type=Path), required=False)
@judging
@telling
def command(
    *, snapshot: Path | None, folders: tuple[Path, ...], keyword: str, exitfirst: bool, fail_on: str,
    baseline: Path | None, as_json: bool, junit: Path | None, verbose: bool, quiet: bool,
) -> int:  # fmt: skip
    """Judge SNAPSHOT, a file or a run directory; without one, the last run."""
    from diag.cli import judging as judge  # noqa: PLC0415 - `diag check --help` needs no pytest

    return judge.check(
        snapshot,
        judge.Judging(folders=folders, keyword=keyword, exitfirst=exitfirst, fail_on=fail_on, baseline=baseline),
        judge.Telling(verbose=verbose, quiet=quiet, as_json=as_json, junit=junit),
    )
