"""Is the busbw that diag measures what the wire can carry? `python bench/fidelity.py` (root, Linux).

GLOO all-reduces of 64 MiB between lab hosts shaped to 1 Gbit/s, through the whole of `diag run`, against iperf3
between two of the same hosts just before and just after each run. The bar is 0.95 at 2, 4 and 8 hosts.
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

COUNTS, RUNS, RATE, BAR = (2, 4, 8), 3, "1gbit", 0.95
SIZE_BYTES = 64 * 1024**2


def main() -> None:
    rows = [figure(count) for count in COUNTS]
    sys.exit(any(row["ratio"] < BAR for row in rows))


def figure(count: int) -> dict[str, float]:
    """Print one line: the median busbw and its median ratio to iperf3."""
    lab = Lab.up(count, rate=RATE)
    try:
        pairs = [once(lab) for _ in range(RUNS)]
    finally:
        lab.down()
    ratios = [busbw / wire for busbw, wire in pairs]
    row = {
        "name": f"busbw_64mib_{count}_hosts",
        "value": round(statistics.median(busbw for busbw, _ in pairs) * 8 / 1e6, 1),
        "unit": "Mbit/s",
        "ratio": round(statistics.median(ratios), 3),
        "against": f"iperf3 {statistics.median(wire for _, wire in pairs) * 8 / 1e6:.1f} Mbit/s",
        "runs": RUNS,
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
    }
    print(json.dumps(row), flush=True)
    return row


def once(lab: Lab) -> tuple[float, float]:
    """Bytes per second of busbw, and of iperf3 around it."""
    before = iperf.throughput_bytes_per_s(lab.hosts[0], lab.hosts[1])
    with tempfile.TemporaryDirectory() as folder:
        busbw = measured(lab, Path(folder, "run"))
    return busbw, (before + iperf.throughput_bytes_per_s(lab.hosts[0], lab.hosts[1])) / 2


def measured(lab: Lab, out: Path) -> float:
    command = [sys.executable, "-m", "diag", *lab.run_line[1:], "--out", str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    try:
        step = next(step for step in load(out).collective.steps if step.size_bytes == SIZE_BYTES and step.verified)
    except (DiagError, NotMeasured, StopIteration):
        sys.exit(f"diag run ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return step.busbw_bytes_per_s


if __name__ == "__main__":
    main()
