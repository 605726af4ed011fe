"""``diag list``: which checks there are and what each means."""

from __future__ import annotations

from pathlib import Path

import click

from diag.cli.options import FOLDER


@click.command("list")
@click.option("-k", "keyword", default="", metavar="EXPR", help="Only the checks whose name or file matches.")
@click.option(
    "--checks", "folders", type=FOLDER, multiple=True, metavar="DIR", help="A folder with checks of your own."
)
def command(*, keyword: str, folders: tuple[Path, ...]) -> int:
    """Say which checks there are, why each matters, and what to do when it fails."""
    from diag.cli.judging import list_checks  # noqa: PLC0415 - `diag list --help` needs no pytest

    return list_checks(keyword, folders)
