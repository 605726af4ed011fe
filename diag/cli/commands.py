"""Which commands are there, and with which status does each way to end one end? Of the heavy imports only click."""

from __future__ import annotations

import contextlib
import importlib
import sys
import traceback
from collections.abc import Mapping

import click

from diag import __version__
from diag.cli import ASKED_WRONGLY, INTERRUPTED, discard_stdout
from diag.errors import DiagError
from diag.report.printable import printable

BUG = 70
COMMANDS: Mapping[str, str] = {
    "run": "Measure hosts, judge them, plan a launch.",
    "check": "Judge a Snapshot again, without measuring.",
    "plan": "Plan launch parameters from a Snapshot.",
    "list": "Say which checks there are and what each means.",
    "evidence": "Show what the nodes answered, word for word.",
    "completion": "Print the completion script of a shell.",
}
"""Each in a file of its own, imported when it is typed. ``list`` is in ``listing.py``: its name is a builtin's."""
FILES = {"list": "listing"}


class LazyGroup(click.Group):
    """Knows its commands by name; imports one when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"diag.cli.{FILES.get(cmd_name, cmd_name)}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="diag", message="%(prog)s %(version)s")
def cli() -> None:
    """Is a GPU cluster healthy, what can it really do, and which launch parameters follow from that?

    \b
    diag run                                  this machine
    diag run --hosts gpu[01-04],10.0.0.9      over SSH
    diag check                                the last run, judged again
    diag plan --hardware 8xH100 --model DIR   without any hardware

    \b
    Exit status of run and check, the first that applies:
      2   asked wrongly, or nothing was judged
      1   the cluster is wrong
      3   a required fact was not measured, or a node not reached
      0   nothing wrong in what was asked for; its words say what was not looked at
      130 interrupted    70 a bug of diag
    """  # noqa: D301 - \b is click's mark for lines that are not to be wrapped


def status_of(arguments: list[str]) -> int:
    """An error of use is one line, a bug keeps its traceback."""
    try:
        answer = cli.main(arguments, prog_name="diag", standalone_mode=False)
        sys.stdout.flush()
        return answer if isinstance(answer, int) else 0
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except DiagError as error:
        _say(f"diag: {error}")
        return ASKED_WRONGLY
    except (KeyboardInterrupt, click.Abort):
        _say("diag: interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        discard_stdout()
        return 0
    except Exception:  # noqa: BLE001 - a bug of ours: the whole traceback, and a status of its own
        traceback.print_exc()
        return BUG


def _show(error: click.ClickException) -> None:
    """One line, as for every other error of use; ``diag`` alone gets the help."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return
    what = error.format_message()
    if type(error) is click.BadParameter and error.param is not None:
        what = f"{error.param.opts[-1]}: {error.message}"
    context = getattr(error, "ctx", None)
    _say(f"diag: {what.rstrip('.')}" + (f"; see: {context.command_path} --help" if context is not None else ""))


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(printable(line), err=True)
