"""Which accelerators does torch name here? Runs as a process of its own; writes JSON to standard output.

Asked where a vendor has no tool here. No tensor is made: how much memory is free, torch says only with a context on
the device.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main() -> None:
    answer = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        import torch
    except BaseException as error:
        sys.exit(f"torch cannot be imported: {type(error).__name__}: {error}")
    with open(answer, "w", encoding="utf-8") as file:
        file.write(json.dumps(seen(torch)))


def seen(torch: Any) -> dict[str, Any]:
    """``{"version", "kind": "npu" or null, "devices": [{"name", "total"}]}``; null: no accelerator."""
    kind = _kind(torch)
    module = getattr(torch, kind, None) if kind else None
    count = module.device_count() if module else 0
    return {"version": torch.__version__, "kind": kind, "devices": [_device(module, index) for index in range(count)]}


def _kind(torch: Any) -> str | None:
    """torch.accelerator is of 2.6; before it, torch.cuda spoke for all that copy CUDA."""
    accelerator = getattr(torch, "accelerator", None)
    if accelerator is None:
        return "cuda" if torch.cuda.is_available() else None
    current = accelerator.current_accelerator() if accelerator.is_available() else None
    return current.type if current is not None else None


def _device(module: Any, index: int) -> dict[str, Any]:
    """A name or size that its backend does not tell is null."""
    row: dict[str, Any] = {"name": None, "total": None}
    with contextlib.suppress(AttributeError, RuntimeError):
        row["name"] = module.get_device_name(index)
    with contextlib.suppress(AttributeError, RuntimeError):
        row["total"] = int(module.get_device_properties(index).total_memory)
    return row
