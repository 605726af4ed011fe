"""What do the NVIDIA GPUs here say of themselves? NVML may hang, so it is asked in a child that can be killed."""

from __future__ import annotations

import json
import os
import sys
import time

import own_code
import pci
import verbs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHILD = "import sys; sys.path.insert(0, sys.argv[1]); import nvml; nvml.main(float(sys.argv[2]))"
OUTPUT_AT_MOST = 1 << 20


def gpus(seconds: float, sample_s: float, root: str = "/") -> dict[str, Any]:
    """``{"absent": true}`` where neither bus nor /dev has one (NVML is not loaded then), else what NVML answers.

    ``rest``: why there is no more, where NVML stopped midway. Raises RuntimeError with NVML's words, and TimeoutError
    when it hangs before it has said anything.
    """
    if proven_absent(root):
        return {"absent": True}
    argv = [sys.executable, "-B", "-c", CHILD, own_code.place(), str(sample_s)]
    kept = [b"", b""]
    why = ""
    try:
        status = verbs.run(argv, dict(os.environ), OUTPUT_AT_MOST, time.monotonic() + seconds, kept)["status"]
    except TimeoutError:
        status, why = 0, f"NVML did not answer within {seconds:.0f} s"
    answer, asking = assembled(kept[0].decode("utf-8", "replace"))
    if status:
        words = kept[1].decode("utf-8", "replace").strip().splitlines()
        why = words[-1] if words else f"NVML ended its process with status {status}"
    if answer.pop("complete", False):
        return answer
    if not answer["gpus"]:
        raise (RuntimeError if status else TimeoutError)(why or "NVML ended its process without an answer")
    answer["rest"] = f"{why} (asked for {asking})" if asking else why
    return answer


def assembled(lines: str) -> tuple[dict[str, Any], str]:
    """The parts put together, and what was being asked when the last one came. A line that was cut is dropped."""
    answer: dict[str, Any] = {"why": {}, "gpus": []}
    asking = ""
    for line in lines.splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        part = json.loads(line)
        asking = part.pop("asking", asking)
        if "count" in part:
            answer["gpus"] = [{"index": index, "why": {}} for index in range(part.pop("count"))]
        into = answer["gpus"][part.pop("gpu")] if "gpu" in part else answer
        into["why"].update(part.pop("why", {}))
        into.update(part)
    return answer, asking


def proven_absent(root: str = "/") -> bool:
    """Whether bus and /dev were read and show no NVIDIA GPU."""
    try:
        found = pci.devices(root)
    except OSError:
        return False
    on_bus = any(row["vendor"] == "nvidia" for row in found["devices"] if row["kind"] == "accelerator")
    in_dev = any(name[5:].startswith(("nvidia", "dxg")) for name in found["files"])
    return not on_bus and not in_dev
