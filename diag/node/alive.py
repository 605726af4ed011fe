"""How does a rank notice that the agent is gone? It watches the agent's pipe: end of file means gone, even after SIGKILL.

Call ``alive.watch()`` first thing in a job's process. It works below launchers that close inherited descriptors (torchrun).
"""

import os
import signal
import threading


def watch():
    """Kill this process as soon as the agent ends. Without an agent (a run by hand) it does nothing."""
    path = os.environ.get("DIAG_ALIVE_PATH")
    if not path:
        return
    try:
        pipe = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        os._exit(70)  # the agent ended before we began
    threading.Thread(target=_wait, args=(pipe,), daemon=True, name="diag-alive").start()


def _wait(pipe):
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGKILL)
