"""How long until a user of 64 hosts reads the first useful verdict? `python bench/first_verdict.py` (root, Linux).

The whole process `diag run --level passive` over real sshd hosts of the lab, until its report is written: an upper
bound of the time to the first verdict. The bar is 5 s.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.lab.cluster import Lab  # noqa: E402 - the lab is found from the project's root

HOSTS, RUNS, BAR_S = 64, 5, 5.0


def once(lab: Lab, out: Path) -> float:
    command = [sys.executable, "-m", "diag", "run", "--level", "passive", "--hosts", ",".join(lab.names),
               "--ssh-config", str(lab.ssh_config), "--python", str(lab.python), "--out", str(out)]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    took_s = time.monotonic() - began
    if done.returncode != 0:
        sys.exit(f"diag run ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return took_s


def main() -> None:
    lab = Lab.up(HOSTS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            once(lab, Path(folder, "warm"))
            times = [once(lab, Path(folder, str(run))) for run in range(RUNS)]
    finally:
        lab.down()
    median_s = statistics.median(times)
    print(json.dumps({
        "name": f"first_verdict_{HOSTS}_hosts", "value": round(median_s, 3), "unit": "s",
        "ratio": round(median_s / BAR_S, 3), "against": f"bar {BAR_S} s", "runs": RUNS,
        "spread": [round(min(times), 3), round(max(times), 3)],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
