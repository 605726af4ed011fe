"""perftest as far as its two ends meet and end: it listens or connects, then says and does what a recording says.

Run as ``ib_write_bw …``; what each end does stands in ``ends.json`` beside it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
VALUES = ("-d", "-i", "-p", "-s", "-n", "-D", "-q", "-x")
"""Options that a value follows."""


def main() -> None:
    words = sys.argv[1:]
    port = int(words[words.index("-p") + 1])
    server = words[-1] if not words[-1].startswith("-") and words[-2] not in VALUES else None
    name = "client" if server else "server"
    with (FOLDER / "calls").open("a") as calls:
        calls.write(json.dumps([name, *sys.argv]) + "\n")
    end = json.loads((FOLDER / "ends.json").read_text())[name]
    if end["meets"]:
        meet(server, port)
    if isinstance(end["status"], str):
        time.sleep(600)
    sys.stdout.write(end["stdout"])
    sys.stderr.write(end["stderr"])
    sys.exit(end["status"])


def meet(server: str | None, port: int) -> None:
    if server is not None:
        socket.create_connection((server, port), 5).close()
        return
    with (
        socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as listener,
        contextlib.suppress(OSError),
    ):
        listener.accept()


if __name__ == "__main__":
    main()
