"""What do the NVIDIA GPUs here say of themselves? NVML may hang, so it is asked in a child that can be killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pci

CHILD = "import sys; sys.path.insert(0, sys.argv[1]); import nvml; nvml.main(float(sys.argv[2]))"


def gpus(seconds: float, sample_s: float, root: str = "/") -> dict[str, Any]:
    """``{"absent": true}`` where neither bus nor /dev has one (NVML is not loaded then), else what NVML answers.

    Raises RuntimeError with NVML's words, TimeoutError when it hangs.
    """
    if _proven_absent(root):
        return {"absent": True}
    here = os.path.dirname(os.path.abspath(__file__))
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, here, str(sample_s)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        out, err = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()  # not awaited: in the driver it may be beyond killing, and the agent reports it then
        raise TimeoutError(f"NVML did not answer within {seconds:.0f} s") from None
    if child.returncode:
        words = err.decode("utf-8", "replace").strip().splitlines()
        raise RuntimeError(words[-1] if words else f"NVML ended the process with status {child.returncode}")
    answer: dict[str, Any] = json.loads(out.decode("utf-8", "replace").strip().splitlines()[-1])
    return answer


def _proven_absent(root: str) -> bool:
    try:
        found = pci.devices(root)
    except OSError:
        return False
    on_bus = any(row["vendor"] == "nvidia" for row in found["devices"] if row["kind"] == "accelerator")
    in_dev = any(name[5:].startswith(("nvidia", "dxg")) for name in found["files"])
    return not on_bus and not in_dev
