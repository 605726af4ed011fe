"""``diag completion``: the script that makes a shell complete diag's commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_DIAG_COMPLETE"
"""click looks for it in the environment of ``diag``."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash  eval "$(diag completion bash)"                             in ~/.bashrc
    zsh   eval "$(diag completion zsh)"                              in ~/.zshrc
    fish  diag completion fish > ~/.config/fish/completions/diag.fish
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped
    from diag.cli.commands import cli  # noqa: PLC0415 - it imports this file

    completion = get_completion_class(shell)
    assert completion is not None, "click knows these shells"
    click.echo(completion(cli, {}, "diag", VARIABLE).source())
