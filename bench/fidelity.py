"""Are the rates that diag measures what the wire can carry? `python bench/fidelity.py` (root, Linux).

GLOO all-reduces of 64 MiB, and the pairs of their ring, between lab hosts, through the whole of `diag run`, against
iperf3 between two of the same hosts just before and just after each run. The bar is 5 % for both: 1 Gbit/s with 2, 4
and 8 hosts, 200 Mbit/s with 16 (two cores carry no more).
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from diag.errors import DiagError  # noqa: E402 - found from the project's root
from diag.facts.record import NotMeasured  # noqa: E402 - as above
from diag.facts.snapshot import load  # noqa: E402 - as above
from tests.lab import iperf  # noqa: E402 - as above
from tests.lab.cluster import Lab  # noqa: E402 - as above

LABS, RUNS, BAR = ((2, "1gbit"), (4, "1gbit"), (8, "1gbit"), (16, "200mbit")), 3, 0.05
WIRE_S = 6
SIZE_BYTES = 64 * 1024**2
DEADLINES = ("--deadline", "collectives=240", "--deadline", "reach=30")


def main() -> None:
    rows = [row for count, rate in LABS for row in figures(count, rate)]
    sys.exit(any(abs(1 - row["ratio"]) > BAR for row in rows))


def figures(count: int, rate: str) -> list[dict[str, float]]:
    """Print two lines: the median busbw and the median rate of pairs, and their median ratios to iperf3."""
    lab = Lab.up(count, rate=rate)
    try:
        runs = [once(lab) for _ in range(RUNS)]
    finally:
        lab.down()
    wires = [wire for _, _, wire in runs]
    return [
        told(f"busbw_64mib_{count}_hosts", [busbw for busbw, _, _ in runs], wires),
        told(f"pairs_{count}_hosts", [pairs for _, pairs, _ in runs], wires),
    ]


def told(name: str, values: list[float], wires: list[float]) -> dict[str, float]:
    ratios = [value / wire for value, wire in zip(values, wires, strict=True)]
    row = {
        "name": name,
        "value": round(statistics.median(values) * 8 / 1e6, 1),
        "unit": "Mbit/s",
        "ratio": round(statistics.median(ratios), 3),
        "against": f"iperf3 {statistics.median(wires) * 8 / 1e6:.1f} Mbit/s",
        "runs": RUNS,
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
    }
    print(json.dumps(row), flush=True)
    return row


def once(lab: Lab) -> tuple[float, float, float]:
    """Bytes per second: of busbw, of a pair's direction (the median), of iperf3 around both."""
    before = iperf.throughput_bytes_per_s(lab.hosts[0], lab.hosts[1], WIRE_S)
    with tempfile.TemporaryDirectory() as folder:
        busbw, pairs = measured(lab, Path(folder, "run"))
    return busbw, pairs, (before + iperf.throughput_bytes_per_s(lab.hosts[0], lab.hosts[1], WIRE_S)) / 2


def measured(lab: Lab, out: Path) -> tuple[float, float]:
    command = [sys.executable, "-m", "diag", *lab.run_line[1:], "--out", str(out), *DEADLINES]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    try:
        snapshot = load(out)
        step = next(step for step in snapshot.collective.steps if step.size_bytes == SIZE_BYTES and step.verified)
        return step.busbw_bytes_per_s, statistics.median(flow.bytes_per_s for flow in snapshot.links.flows)
    except (DiagError, NotMeasured, StopIteration):
        sys.exit(f"diag run ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
