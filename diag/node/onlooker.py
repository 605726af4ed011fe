"""Does somebody else begin to use a GPU while a job of ours runs on it? Said once; then this process ends.

After its first look it says that it looks: where NVML does not answer it never does.

It is a job of its own, on the host's side where ranks run in a container: there alone the pids of all are seen. Ours
are those that carry the token of this agent, or of one inside a container that it started.
"""

from __future__ import annotations

import json
import os
import sys
import time

import alive
import descendants
import heat
import markers

LOOK_S = 0.1


def main() -> None:
    """argv: {"known": pids or null, "inside": whether ranks run in a container, "root": where /sys and /dev lie}."""
    alive.watch()
    markers.start_clock()
    wish = json.loads(sys.argv[1])
    token = os.environ[descendants.MARK].partition(".")[0]
    watch = heat.Watch({"stop_c": {}, "newcomers": True, "token": token, **wish})
    said = False
    while True:
        for _, why in watch.alarms():
            markers.say(stopped=why)
            watch.end()
            os._exit(0)
        if watch.looks and not said:
            markers.say(looks=True)
            said = True
        time.sleep(LOOK_S)
