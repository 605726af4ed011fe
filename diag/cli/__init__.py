"""The command ``diag``. What is imported here is imported before it can be interrupted in peace: next to nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TextIO

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ASKED_WRONGLY, INTERRUPTED = 2, 130


def main() -> None:
    """Run the command; every way to end has one exit status."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)
    _open_closed_streams()
    from diag.cli.commands import status_of  # noqa: PLC0415 - imports take their time: an interrupt is expected by now

    status = status_of(sys.argv[1:])
    for number in ENDING:  # all is told: a signal that comes while Python ends must not replace the status
        signal.signal(number, signal.SIG_IGN)
    sys.exit(status)


def end_at_once(_number: int, _frame: object) -> None:
    """For an interrupt while nothing is to be saved. KeyboardInterrupt gets lost in imports, or breaks them (tried)."""
    with contextlib.suppress(OSError):
        os.write(2, b"diag: interrupted\n")
    os._exit(INTERRUPTED)


def is_same_place(one: TextIO, other: TextIO) -> bool:
    """As after ``2>&1``."""
    with contextlib.suppress(OSError, ValueError):
        return os.path.sameopenfile(one.fileno(), other.fileno())
    return False


def discard_stdout() -> None:
    """Nothing is left to be flushed at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_closed_streams() -> None:
    """Started with ``>&-``: else the first connection gets number 1, and what is printed goes there."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w"))
