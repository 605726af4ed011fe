"""How fast are hosts reached, compared with parallel-ssh? `python bench/reach.py [HOSTS …]` (root, Linux; 8 64 256)

Whole processes on the lab's hosts, alternating: ours until every agent has given its first answer, against Debian's
``parallel-ssh -I`` with its fastest key exchange and cipher pinned, running the same command on the hosts with the same
bytes on standard input. The controller's CPU is that of the process and everything that it started.
Bars: at 256 hosts at most the same wall time, at 64 at most 1.05 times that, at both at most 0.7 times the CPU; at 8
hosts at most 0.3 s more.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from diag.inventory import Host  # noqa: E402 - diag is found from the project's root
from diag.remote import payload  # noqa: E402
from diag.remote.ssh_command import command_line  # noqa: E402
from tests.lab.cluster import Lab  # noqa: E402

RUNS, REST_S = 7, 1.0
SIZES = (8, 64, 256)
FASTEST = ("-O", "KexAlgorithms=curve25519-sha256", "-O", "Ciphers=aes128-gcm@openssh.com")
PSSH_AT_ONCE = 64


class Cost(NamedTuple):
    wall_s: float
    cpu_s: float


def cost(argv: Sequence[str], stdin: Path) -> Cost:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with stdin.open("rb") as given, tempfile.TemporaryFile() as output:
        began = time.monotonic()
        done = subprocess.run(argv, stdin=given, stdout=output, stderr=subprocess.STDOUT, check=False, cwd=ROOT)
        wall_s = time.monotonic() - began
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    _must_have_worked(argv, done.returncode, said)
    return Cost(wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def _must_have_worked(argv: Sequence[str], status: int, said: str) -> None:
    """An agent whose input ends without a word ends with 1, and parallel-ssh says so; ssh's own failures are 255."""
    if status not in (0, 4, 5) or "code 255" in said or "Timed out" in said or (status and "_reach_diag" in str(argv)):
        sys.exit(f"{argv[:2]} ended with {status}:\n{said[-2000:]}")


def compare(lab: Lab, folder: Path) -> tuple[list[Cost], list[Cost]]:
    """Ours and theirs, in turn, one round more than counts."""
    hosts, given = folder / "hosts", folder / "payload"
    hosts.write_text("\n".join(lab.names) + "\n")
    given.write_bytes(payload.payload())
    line = command_line(payload.command(Host(name="any"), "python3"))
    nothing = Path("/dev/null")
    at_once = str(min(len(lab.names), PSSH_AT_ONCE))
    pssh = (
        "parallel-ssh",
        "-I",
        "-p",
        at_once,
        "-t",
        "60",
        "-h",
        str(hosts),
        *FASTEST,
        "-x",
        f"-F {lab.ssh_config}",
        line,
    )
    diag = (sys.executable, str(ROOT / "bench" / "_reach_diag.py"), str(lab.ssh_config), str(hosts))
    ours: list[Cost] = []
    theirs: list[Cost] = []
    for number in range(RUNS + 1):
        turns = [(ours, diag, nothing), (theirs, pssh, given)]
        for costs, argv, stdin in turns if number % 2 else reversed(turns):
            costs.append(cost(argv, stdin))
            time.sleep(REST_S)
    return ours[1:], theirs[1:]


def report(size: int, ours: Sequence[Cost], theirs: Sequence[Cost]) -> None:
    wall_bar = {64: "bar 1.05", 256: "bar 1.0"}.get(size, "bar: 0.3 s more")
    for field, bar in (("wall_s", wall_bar), ("cpu_s", "bar 0.7" if size >= 64 else "no bar")):
        mine, other = ([getattr(each, field) for each in costs] for costs in (ours, theirs))
        value, against = statistics.median(mine), statistics.median(other)
        print(json.dumps({
            "name": f"reach_{size}_hosts_{field.removesuffix('_s')}", "value": round(value, 3), "unit": "s",
            "ratio": round(value / against, 3), "against": f"parallel-ssh -I {against:.3f} s, {bar}",
            "runs": len(mine), "spread": [round(min(mine), 3), round(max(mine), 3)],
        }), flush=True)  # fmt: skip


def main() -> None:
    for size in [int(word) for word in sys.argv[1:]] or SIZES:
        lab = Lab.up(size)
        try:
            with tempfile.TemporaryDirectory() as folder:
                report(size, *compare(lab, Path(folder)))
        finally:
            lab.down()


if __name__ == "__main__":
    main()
