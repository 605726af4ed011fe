"""What does NVML answer? Runs as a process of its own; writes JSON to standard output, or ends with NVML's words."""

from __future__ import annotations

import json
import os
import sys
import time

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

SAMPLES = 5
MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}


def main(sample_s: float) -> None:
    import pynvml

    answer = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        sys.exit(f"NVML: {error}")
    with open(answer, "w", encoding="utf-8") as file:
        file.write(json.dumps(node(pynvml, sample_s)))


def node(nv: Any, sample_s: float) -> dict[str, Any]:
    """Every field that could not be read stands in ``why`` of its GPU (or of the node) with NVML's words."""
    answer: dict[str, Any] = {"why": {}}
    _fill(nv, answer, "driver", lambda: _text(nv.nvmlSystemGetDriverVersion()))
    _fill(nv, answer, "cuda_driver", lambda: _cuda(nv.nvmlSystemGetCudaDriverVersion_v2()))
    handles = [_handle(nv, index) for index in range(nv.nvmlDeviceGetCount())]
    answer["gpus"] = [_gpu(nv, index, handle) for index, handle in enumerate(handles)]
    if sample_s > 0:
        _utilisation(nv, handles, answer["gpus"], sample_s)
    return answer


def _handle(nv: Any, index: int) -> Any:
    """A GPU that fell off the bus has no handle: NVML's words stand in for it."""
    try:
        return nv.nvmlDeviceGetHandleByIndex(index)
    except nv.NVMLError as error:
        return str(error)


def _gpu(nv: Any, index: int, handle: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"index": index, "why": {}}
    if isinstance(handle, str):
        row["lost"] = handle
        return row
    reads: dict[str, Callable[[], Any]] = {
        "name": lambda: _text(nv.nvmlDeviceGetName(handle)),
        "uuid": lambda: _text(nv.nvmlDeviceGetUUID(handle)),
        "pci_address": lambda: _text(nv.nvmlDeviceGetPciInfo(handle).busId),
        "memory": lambda: _memory(nv, handle),
        "compute_capability": lambda: "{}.{}".format(*nv.nvmlDeviceGetCudaComputeCapability(handle)),
        "compute_mode": lambda: MODES.get(nv.nvmlDeviceGetComputeMode(handle), "unknown"),
        "mig": lambda: _mig(nv, handle),
        "processes": lambda: _processes(nv, handle),
    }
    for field, read in reads.items():
        _fill(nv, row, field, read)
    return row


def _fill(nv: Any, row: dict[str, Any], field: str, read: Callable[[], Any]) -> None:
    try:
        row[field] = read()
    except nv.NVMLError as error:
        row["why"][field] = f"NVML: {error}"


def _memory(nv: Any, handle: Any) -> list[int]:
    """[total, used, free]. Version 2 keeps the driver's own reserve out of ``used``."""
    try:
        memory = nv.nvmlDeviceGetMemoryInfo(handle, version=nv.nvmlMemory_v2)
    except (nv.NVMLError_FunctionNotFound, nv.NVMLError_ArgumentVersionMismatch, nv.NVMLError_NotSupported):
        memory = nv.nvmlDeviceGetMemoryInfo(handle)
    return [memory.total, memory.used, memory.free]


def _mig(nv: Any, handle: Any) -> bool:
    try:
        return bool(nv.nvmlDeviceGetMigMode(handle)[0])
    except nv.NVMLError_NotSupported:
        return False


def _processes(nv: Any, handle: Any) -> list[dict[str, Any]]:
    try:
        found = nv.nvmlDeviceGetComputeRunningProcesses_v3(handle)
    except nv.NVMLError_FunctionNotFound:
        found = nv.nvmlDeviceGetComputeRunningProcesses_v2(handle)
    return [
        {"pid": process.pid, "name": proc.line(f"/proc/{process.pid}/comm"), "used": process.usedGpuMemory}
        for process in found
    ]


def _utilisation(nv: Any, handles: list[Any], rows: list[dict[str, Any]], sample_s: float) -> None:
    """Each reading covers the last 1/6 to 1 s; several over ``sample_s`` see what comes in bursts."""
    sums = [0] * len(handles)
    for sample in range(SAMPLES):
        if sample:
            time.sleep(sample_s / (SAMPLES - 1))
        for index, handle in enumerate(handles):
            if isinstance(handle, str) or "utilisation" in rows[index]["why"]:
                continue
            try:
                sums[index] += nv.nvmlDeviceGetUtilizationRates(handle).gpu
            except nv.NVMLError as error:
                rows[index]["why"]["utilisation"] = f"NVML: {error}"
    for row, total in zip(rows, sums):
        if "lost" not in row and "utilisation" not in row["why"]:
            row["utilisation"] = total / SAMPLES / 100


def _cuda(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
