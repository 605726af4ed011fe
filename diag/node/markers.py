"""How does a process of a job tell the controller where it is? With lines on standard output that start ``@diag``."""

from __future__ import annotations

import json
import os
import time

import settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STARTED = "DIAG_STARTED"
WORDS_AT_MOST = 400


def start_clock() -> None:
    """Times count from here, in this process and all that it starts."""
    os.environ[STARTED] = repr(time.monotonic())


def elapsed_s() -> float:
    return time.monotonic() - float(os.environ.get(STARTED, "nan"))


def say(**line: Any) -> None:
    """One write: ranks share the pipe, and what is shorter than PIPE_BUF is never torn."""
    line.setdefault("at", round(elapsed_s(), 4))
    os.write(1, ("@diag " + json.dumps(line, separators=(",", ":")) + "\n").encode())


def one_line(error: object) -> str:
    """The first lines of an error's text, without torch's C++ stack and without what announces itself as a secret."""
    kind = type(error).__name__ + ": " if isinstance(error, BaseException) else ""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [
        line for line in lines if not line.startswith(("Exception raised from", "frame #", "C++ CapturedTraceback"))
    ]
    return settings.masked("", (kind + " ".join(kept))[:WORDS_AT_MOST])
