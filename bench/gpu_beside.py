"""Is a job on the GPU slowed by diag beside it? `python bench/gpu_beside.py` (a GPU and torch; without, it says so).

A job of products in bf16 tells its rate each second; beside it, in turn, nothing and `diag run --level passive`, again
and again. The bar: its median rate beside diag is at most 0.5 % below the one without.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from gpu import ROOT, missing

TURNS, TURN_S, WARM_S, BAR = 6, 12.0, 15.0, 0.995
FOREIGN = """
import time, torch
a, b = (torch.randn(8192, 8192, device="cuda").bfloat16() for _ in range(2))
while True:
    begin, done = time.monotonic(), 0
    while time.monotonic() - begin < 1.0:
        for _ in range(20):
            torch.mm(a, b)
        torch.cuda.synchronize()
        done += 20
    print(done / (time.monotonic() - begin), flush=True)
"""


def main() -> None:
    why = missing()
    if why:
        print(f"bench/gpu_beside.py: nothing measured: {why}", file=sys.stderr)
        return
    job = subprocess.Popen([sys.executable, "-c", FOREIGN], stdout=subprocess.PIPE, text=True)
    rates: list[tuple[float, float]] = []
    threading.Thread(target=listen, args=(job, rates), daemon=True).start()
    try:
        time.sleep(WARM_S)
        quiet, beside = turns(rates)
    finally:
        job.kill()
    ratio = statistics.median(beside) / statistics.median(quiet)
    row = {"name": "foreign_job_beside_passive_run", "value": round(ratio, 4), "unit": "ratio", "ratio": BAR}
    spread = [round(min(beside) / max(quiet), 4), round(max(beside) / min(quiet), 4)]
    print(json.dumps({**row, "against": "the same job alone", "runs": TURNS, "spread": spread}))
    sys.exit(ratio < BAR)


def listen(job: subprocess.Popen[str], rates: list[tuple[float, float]]) -> None:
    assert job.stdout is not None
    rates.extend((time.monotonic(), float(line)) for line in job.stdout)


def turns(rates: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    quiet: list[float] = []
    beside: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(TURNS):
            began = time.monotonic()
            time.sleep(TURN_S)
            middle = time.monotonic()
            while time.monotonic() - middle < TURN_S:
                run(Path(folder) / str(turn) / str(time.monotonic_ns()))
            ended = time.monotonic()
            quiet += [rate for at, rate in rates if began + 1 < at <= middle]
            beside += [rate for at, rate in rates if middle + 1 < at <= ended]
    return quiet, beside


def run(out: Path) -> None:
    argv = [sys.executable, "-m", "diag", "run", "--level", "passive", "--out", str(out)]
    subprocess.run(argv, check=False, capture_output=True, cwd=ROOT, timeout=120)


if __name__ == "__main__":
    main()
