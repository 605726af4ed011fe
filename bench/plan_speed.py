"""How long does `diag plan` take from a shell? `python bench/plan_speed.py`

The whole process, the search over 128 declared GPUs included: of experts, which can be shared in the most ways, and of
the model that vLLM pages in the most ways. The bar is 1 s.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HARDWARE, RUNS, BAR_S = "16x8xH100", 7, 1.0
MODELS = {"experts": "Qwen/Qwen3-235B-A22B", "latent": "deepseek-ai/DeepSeek-R1", "hybrid": "Qwen/Qwen3.5-397B-A17B"}


def once(model: str) -> float:
    """Seconds of the whole process."""
    command = [sys.executable, "-m", "diag", "plan", "--hardware", HARDWARE, "--link", "400Gbit/s", "--model", model]
    began = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    took_s = time.monotonic() - began
    if done.returncode != 0:
        sys.exit(f"diag plan of {model} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return took_s


def main() -> None:
    for kind, model in MODELS.items():
        once(model)
        times = [once(model) for _ in range(RUNS)]
        median_s = statistics.median(times)
        print(json.dumps({
            "name": f"plan_128_gpus_{kind}", "value": round(median_s, 3), "unit": "s",
            "ratio": round(median_s / BAR_S, 3), "against": f"bar {BAR_S} s", "runs": RUNS,
            "spread": [round(min(times), 3), round(max(times), 3)],
        }))  # fmt: skip


if __name__ == "__main__":
    main()
