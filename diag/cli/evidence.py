"""``diag evidence``: what the nodes answered, word for word."""

from __future__ import annotations

import click


@click.command("evidence")
@click.argument("words", nargs=-1, metavar="[SNAPSHOT] [NODE] [TOPIC]")
def command(words: tuple[str, ...]) -> int:
    """List the raw answers behind a run, or print those of one TOPIC.

    \b
    diag evidence                      what the last run kept
    diag evidence gpu03                of one node
    diag evidence gpu03 collective     what its ranks printed last
    diag evidence RUN collective       of every node, in an earlier run
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    from diag.cli.looking import evidence  # noqa: PLC0415 - `diag evidence --help` needs no Snapshot

    return evidence(words)
