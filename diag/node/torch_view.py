"""What does torch (and torch_npu) see under this interpreter? Imported in a child with a deadline; no GPU context is
created.

Availability is asked with torch's own check through NVML; what only the CUDA runtime could say is not asked.
"""

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

CHILD = "import sys; sys.path.insert(0, sys.argv[1]); import torch_view; del sys.path[0]; torch_view.main()"
"""Torch is imported as an engine does: none of our modules may stand in for one of its own."""
QUIET = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1", "OMP_NUM_THREADS": "1"}
OUTPUT_AT_MOST = 65536
WHY_AT_MOST = 300


def view(seconds: float, root: str = "/") -> dict[str, Any]:
    """``{"absent": true}`` without an accelerator, ``{"torch": null}`` without torch, else what torch says.

    Raises TimeoutError, and RuntimeError with its words where the import fails.
    """
    if _no_accelerator(root):
        return {"absent": True}
    if not _installed():
        return {"torch": None}
    argv = [sys.executable, "-B", "-c", CHILD, own_code.place()]
    try:
        done = verbs.run(argv, {**os.environ, **QUIET}, OUTPUT_AT_MOST, time.monotonic() + seconds)
    except TimeoutError:
        raise TimeoutError(f"torch did not answer within {seconds:.0f} s") from None
    words = done["stderr"].strip().splitlines()
    if done["status"]:
        raise RuntimeError(words[-1][:WHY_AT_MOST] if words else f"torch ended with status {done['status']}")
    answer: dict[str, Any] = json.loads(done["stdout"])
    return answer


def _no_accelerator(root: str) -> bool:
    found = pci.devices(root)
    return not found["files"] and not any(row["kind"] == "accelerator" for row in found["devices"])


def _installed() -> bool:
    """A child that only fails to import it would cost a process."""
    import importlib.util

    return importlib.util.find_spec("torch") is not None


def main() -> None:
    """In the child: one JSON object on standard output, whatever torch prints."""
    answer = os.dup(1)
    os.dup2(2, 1)
    import torch

    with open(answer, "w", encoding="utf-8") as file:
        file.write(json.dumps(seen(torch)))


def seen(torch: Any) -> dict[str, Any]:
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count, why = _count(torch)
    words = why or next((str(warning.message) for warning in caught), "")
    return {
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "hip": getattr(torch.version, "hip", None),
        "count": count,
        "why_not": " ".join(words.split())[:WHY_AT_MOST] if not count else "",
        "indices": _indices(torch, count),
        "architectures": _architectures(torch),
        "types": [name for name in ("bfloat16", "float8_e4m3fn") if hasattr(torch, name)],
        "nccl": _nccl(torch),
        "libcuda": _libcuda(),
        "npu": None if count else _npu(torch),
    }


def _npu(torch: Any) -> dict[str, Any] | None:
    """What Ascend's extension of torch says, where it is installed; it makes no context, either."""
    import importlib.util

    if importlib.util.find_spec("torch_npu") is None:
        return None
    try:
        version = str(importlib.import_module("torch_npu").__version__)
        count = int(torch.npu.device_count())
    except Exception as error:  # without CANN its import fails in several ways
        return {
            "version": None,
            "count": 0,
            "why_not": " ".join(f"{type(error).__name__}: {error}".split())[:WHY_AT_MOST],
        }
    return {"version": version, "count": count if count and torch.npu.is_available() else 0, "why_not": ""}


def _count(torch: Any) -> tuple[int, str]:
    """How many devices, and why there is none."""
    try:
        count = int(torch.cuda.device_count())
        return (count, "") if count and torch.cuda.is_available() else (0, "")
    except Exception as error:  # whatever a build of torch raises, its words are the answer
        return 0, f"{type(error).__name__}: {error}"


def _indices(torch: Any, count: int) -> list[int] | None:
    """NVML's index of each of torch's devices, in its order; None: this torch cannot say without a context."""
    try:
        return [int(torch.cuda._get_nvml_device_index(index)) for index in range(count)]  # noqa: SLF001
    except Exception:  # an inner function of torch: absent in old ones, and it imports pynvml in new ones
        return None


def _architectures(torch: Any) -> list[str]:
    """As compiled in, also where no device is available."""
    flags = getattr(torch._C, "_cuda_getArchFlags", None)  # noqa: SLF001 - get_arch_list is empty without a device
    return (flags() or "").split() if flags else []


def _nccl(torch: Any) -> str | None:
    try:
        version = torch.cuda.nccl.version()
    except Exception:  # a build without NCCL has no such function, or one that raises
        return None
    return ".".join(map(str, version)) if isinstance(version, tuple) else str(version)


def _libcuda() -> int | None:
    """CUDA version (12080) of the libcuda that this process would load; asking it needs no device and no context."""
    import ctypes

    try:
        library = ctypes.CDLL("libcuda.so.1")
        version = ctypes.c_int()
        return version.value if library.cuDriverGetVersion(ctypes.byref(version)) == 0 else None
    except (OSError, AttributeError):
        return None
