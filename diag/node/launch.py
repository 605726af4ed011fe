"""How does a node join the job? The launcher calls the roll of nodes, then becomes torchrun.

torchrun itself waits ten minutes for a node that never comes, starts no rank meanwhile and names nobody. So the
launchers meet at the board first; those that are there then find each other's torchrun at once. argv: torchrun's own.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time

import alive
import markers
from rollcall import PLACE, Roll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IMPORT_PATIENCE_S = 30.0
"""Loading libraries holds the interpreter, longest from a cold network file system."""
PATIENCE_S = 10.0
TELL_S = 0.2
GAVE_UP = 4


def main(pyz: str) -> None:
    alive.watch()
    markers.start_clock()
    node = json.loads(os.environ[PLACE])["node"]
    deadline_s = float(os.environ["DIAG_DEADLINE_S"])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (pyz, os.environ.get("PYTHONPATH"))))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    say(node, "spawned", interpreter=sys.executable, python=platform.python_version())
    ranks_started: list[bool] = []

    def on_trouble(troubles: Any) -> None:
        markers.say(launcher=node, troubles=troubles)
        if not ranks_started:  # ranks speak for themselves, and torchrun ends when they do
            os._exit(GAVE_UP)

    try:
        roll = Roll(f"node:{node}", "spawned", IMPORT_PATIENCE_S, on_trouble)
        import torch.distributed.run as torchrun
    except Exception as error:
        give_up(node, error)
    torch_version = sys.modules["torch"].__version__
    say(node, "imported", torch=torch_version)
    roll.say("imported", PATIENCE_S, torch=torch_version)
    if not roll.await_all("imported", deadline_s - markers.elapsed_s()):
        time.sleep(TELL_S)
        give_up(node, TimeoutError("the other nodes are not ready, and not missing either"))
    ranks_started.append(True)
    say(node, "torchrun")
    become_torchrun(torchrun, node)
    roll.bye()
    os._exit(0)


def say(node: int, phase: str, **about: Any) -> None:
    markers.say(launcher=node, phase=phase, **about)


def give_up(node: int, error: BaseException) -> None:
    markers.say(launcher=node, failed=markers.one_line(error))
    os._exit(GAVE_UP)


def become_torchrun(torchrun: Any, node: int) -> None:
    """Run the job; which of its ranks ended how is the last that it says."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        torchrun.main(sys.argv[1:])
    except ChildFailedError as error:
        ends = {str(rank): failure.exitcode for rank, failure in error.failures.items()}
        markers.say(launcher=node, ends=ends)
        os._exit(1)
    except BaseException as error:
        give_up(node, error)
