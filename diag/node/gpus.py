"""What do the NVIDIA GPUs here say of themselves? NVML may hang, so it is asked in a child that can be killed."""

from __future__ import annotations

import json
import os
import sys
import time

import pci
import verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHILD = "import sys; sys.path.insert(0, sys.argv[1]); import nvml; nvml.main(float(sys.argv[2]))"
OUTPUT_AT_MOST = 1 << 20


def gpus(seconds: float, sample_s: float, root: str = "/") -> dict[str, Any]:
    """``{"absent": true}`` where neither bus nor /dev has one (NVML is not loaded then), else what NVML answers.

    Raises RuntimeError with NVML's words, TimeoutError when it hangs.
    """
    if _proven_absent(root):
        return {"absent": True}
    here = os.path.dirname(os.path.abspath(__file__))
    argv = [sys.executable, "-B", "-c", CHILD, here, str(sample_s)]
    try:
        done = verbs.run(argv, dict(os.environ), OUTPUT_AT_MOST, time.monotonic() + seconds)
    except TimeoutError:
        raise TimeoutError(f"NVML did not answer within {seconds:.0f} s") from None
    if done["status"]:
        words = done["stderr"].strip().splitlines()
        raise RuntimeError(words[-1] if words else f"NVML ended its process with status {done['status']}")
    answer: dict[str, Any] = json.loads(done["stdout"])
    return answer


def _proven_absent(root: str) -> bool:
    try:
        found = pci.devices(root)
    except OSError:
        return False
    on_bus = any(row["vendor"] == "nvidia" for row in found["devices"] if row["kind"] == "accelerator")
    in_dev = any(name[5:].startswith(("nvidia", "dxg")) for name in found["files"])
    return not on_bus and not in_dev
