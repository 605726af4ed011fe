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
import dials
import markers
import ras
from rollcall import PLACE, Roll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IMPORT_PATIENCE_S = 30.0
"""Loading libraries holds the interpreter, longest from a cold network file system."""
PATIENCE_S = 10.0
TELL_S = 0.2
GAVE_UP = 4


class Launcher:
    """The launcher of the node with the number ``node``."""

    def __init__(self) -> None:
        self.node = json.loads(os.environ[PLACE])["node"]
        self.deadline_s = float(os.environ["DIAG_DEADLINE_S"])
        self.ranks_may_run = False

    def say(self, **words: Any) -> None:
        markers.say(launcher=self.node, **words)

    def meet_the_others(self) -> Any:
        """Import torchrun, and wait until all launchers have; its module."""
        self.say(phase="spawned", interpreter=sys.executable, python=platform.python_version())
        roll = self.roll = Roll(f"node:{self.node}", "spawned", IMPORT_PATIENCE_S, self.blame)
        import torch.distributed.run as torchrun

        version = sys.modules["torch"].__version__
        self.say(phase="imported")
        roll.say("imported", PATIENCE_S, torch=version)
        if not roll.await_all("imported", self.deadline_s - markers.elapsed_s()):
            time.sleep(TELL_S)  # whom we miss is said in another thread, which then ends us
            raise TimeoutError("the other nodes' launchers were not ready in time")
        return torchrun

    def become_torchrun(self, torchrun: Any) -> None:
        """Run the job; how its ranks ended is the last that we say."""
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

        self.ranks_may_run = True
        self.say(phase="torchrun")
        self.roll.say("torchrun", PATIENCE_S)
        try:
            torchrun.main(sys.argv[1:])
        except ChildFailedError as error:
            self.say(ends={str(rank): failure.exitcode for rank, failure in error.failures.items()})
        self.roll.bye()

    def blame(self, roll: Roll, troubles: Any) -> None:
        """Somebody did not come through. Ranks speak for themselves; before there are any, we leave."""
        self.say(troubles=troubles)
        if not self.ranks_may_run:
            roll.bye()
            os._exit(GAVE_UP)


def main(pyz: str) -> None:
    alive.watch()
    markers.start_clock()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (pyz, os.environ.get("PYTHONPATH"))))
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if os.environ["DIAG_BACKEND"] == "nccl":
        own_port = dials.free_port("127.0.0.1")  # at the default one another job's service might answer
        os.environ[ras.ADDRESS] = f"127.0.0.1:{own_port}"
    launcher = Launcher()
    try:
        launcher.become_torchrun(launcher.meet_the_others())
    except BaseException as error:
        launcher.say(failed=markers.one_line(error))
        os._exit(GAVE_UP)
    os._exit(0)
