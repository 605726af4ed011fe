"""Does diag measure what this GPU can do? `python bench/gpu.py` (a GPU and torch; without one it says so and ends).

bf16 product, copy inside GPU memory and pinned copy to the GPU, as diag measures them (its own leader and children), in
turn with torch's best, timed here by hand with CUDA events over the same shapes. The bar is 3 % for each. Then diag's
product again and again: the coefficient of variation of ten runs, bar 1 %.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NODE = ROOT / "diag" / "node"
N, HBM_BYTES, H2D_BYTES = 8192, 1 << 30, 256 << 20
RUNS, TIMES, REPETITIONS, BAR, SPREAD_BAR = 5, 10, 30, 0.03, 0.01
CHILDREN = {
    "gemm_bf16": ("gemm:measure", {"dtype": "bf16", "n": N, "seconds": 2.0}),
    "hbm_copy": ("copies:inside", {"size_bytes": HBM_BYTES, "seconds": 0.5}),
    "h2d_pinned": ("copies:with_host", {"size_bytes": H2D_BYTES, "seconds": 0.5, "directions": ["h2d"]}),
}
BY_HAND = """
import json, sys, torch
kind, n, size, repetitions = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
device = "cuda:0"
if kind == "gemm_bf16":
    a, b = (torch.randn(n, n, device=device).bfloat16() for _ in range(2))
    c = torch.empty(n, n, device=device, dtype=torch.bfloat16)
    work, counted, times = (lambda: torch.mm(a, b, out=c)), 2.0 * n**3, 70
elif kind == "hbm_copy":
    a = torch.randint(0, 2**31, (size // 8,), device=device, dtype=torch.int64)
    b = torch.empty_like(a)
    work, counted, times = (lambda: b.copy_(a)), 2.0 * size, 1
else:
    a = torch.randint(0, 2**31, (size // 8,), dtype=torch.int64).pin_memory()
    b = torch.empty(size // 8, dtype=torch.int64, device=device)
    work, counted, times = (lambda: b.copy_(a, non_blocking=True)), 1.0 * size, 1
for _ in range(5):
    work()
torch.cuda.synchronize()
rates = []
for _ in range(repetitions):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(times):
        work()
    end.record()
    torch.cuda.synchronize()
    rates.append(counted * times / (begin.elapsed_time(end) / 1e3))
print(json.dumps(rates))
"""


def main() -> None:
    why = missing()
    if why:
        print(f"bench/gpu.py: nothing measured: {why}", file=sys.stderr)
        return
    met = [figure(name) for name in CHILDREN]
    met.append(repeated())
    sys.exit(not all(met))


def missing() -> str:
    """Why nothing can be measured here; empty: it can. Asked in a process of its own: a driver may hang."""
    ask = "import torch, sys; sys.exit(0 if torch.cuda.is_available() else 3)"
    try:
        done = subprocess.run([sys.executable, "-c", ask], check=False, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "torch did not say within 60 s whether there is a GPU"
    if done.returncode == 3:
        return "torch sees no GPU"
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["torch cannot be imported"])[-1]


def figure(name: str) -> bool:
    """One line: the median of ours against the median of theirs, alternating."""
    ours, theirs = [], []
    for _ in range(RUNS):
        theirs.append(statistics.median(by_hand(name)))
        ours.append(measured(name))
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    unit = "FLOP/s" if name == "gemm_bf16" else "B/s"
    against = f"torch by hand {statistics.median(theirs):.4g}"
    tell(name, statistics.median(ours), unit, ratio=ratio, against=against, runs=RUNS, ratios=ratios)
    return abs(ratio - 1) <= BAR


def repeated() -> bool:
    rates = [measured("gemm_bf16") for _ in range(TIMES)]
    variation = statistics.stdev(rates) / statistics.fmean(rates)
    ends = [min(rates) / statistics.fmean(rates), max(rates) / statistics.fmean(rates)]
    tell(
        "gemm_bf16_variation",
        variation,
        "stdev/mean",
        ratio=variation / SPREAD_BAR,
        against="bar 1 %",
        runs=TIMES,
        ratios=ends,
    )
    return variation <= SPREAD_BAR


def tell(name: str, value: float, unit: str, *, ratio: float, against: str, runs: int, ratios: list[float]) -> None:
    spread = [round(min(ratios), 4), round(max(ratios), 4)]
    row = {"name": name, "value": float(f"{value:.4g}"), "unit": unit, "ratio": round(ratio, 4), "against": against}
    print(json.dumps({**row, "runs": runs, "spread": spread}), flush=True)


def by_hand(name: str) -> list[float]:
    size = HBM_BYTES if name == "hbm_copy" else H2D_BYTES
    argv = [sys.executable, "-c", BY_HAND, name, str(N), str(size), str(REPETITIONS)]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def measured(name: str) -> float:
    """As ``diag run`` does, through its leader."""
    call, arguments = CHILDREN[name]
    child = {"id": 1, "call": call, "arguments": arguments, "devices": ["cuda:0"], "deadline_s": 60}
    plan = json.dumps({"rounds": [[child]], "seconds": 90, "watch": None})
    start = f"import sys; sys.path.insert(0, {str(NODE)!r}); import measure; measure.main()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIAG_")}
    done = subprocess.run(
        [sys.executable, "-c", start, plan], check=True, capture_output=True, text=True, env=environment
    )
    lines = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("@diag ")]
    found = next((line["found"] for line in lines if "found" in line), None)
    if found is None or not found["verified"]:
        sys.exit(f"{name}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return rate(found)


def rate(found: dict[str, Any]) -> float:
    if "flops_per_s" in found:
        return statistics.median(found["flops_per_s"])
    return found["size_bytes"] / statistics.median(found["times_s"])


if __name__ == "__main__":
    main()
