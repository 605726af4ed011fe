"""How does a rank notice that the agent is gone? It watches the agent's pipe: end of file means gone, even by SIGKILL.

A job's process calls ``alive.watch()`` first thing. It works below torchrun too, which closes inherited
descriptors.
"""

from __future__ import annotations

import os
import signal
import threading


def watch() -> None:
    """Kill this process as soon as the agent ends. Without an agent (a run by hand) nothing is watched."""
    path = os.environ.get("DIAG_ALIVE_PATH")
    if not path:
        return
    try:
        pipe = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        os._exit(70)  # the agent ended before this process began
    threading.Thread(target=_wait, args=(pipe,), daemon=True, name="diag alive").start()


def _wait(pipe: int) -> None:
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGKILL)
