"""How fast is the wire between two hosts, says iperf3?"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time

from tests.lab.host import Host

PORT = 5201


def throughput_bytes_per_s(server: Host, client: Host, seconds: int = 2, streams: int = 1) -> float:
    """What ``server`` received from ``client`` in one TCP run."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    listening = server.popen(("iperf3", "-s", "-1", "-B", server.address, "-p", str(PORT)), **quiet)
    try:
        while not server.listens(PORT):
            if listening.poll() is not None:
                raise RuntimeError(f"{server.name}: iperf3 does not listen")
            time.sleep(0.01)
        argv = ("iperf3", "-c", server.address, "-p", str(PORT), "-t", str(seconds), "-P", str(streams), "-J")
        result = json.loads(client.run(argv, timeout_s=seconds + 20))
        return float(result["end"]["sum_received"]["bits_per_second"]) / 8
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(listening.pid, signal.SIGKILL)
        listening.wait()
