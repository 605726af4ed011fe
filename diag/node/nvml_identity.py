"""Who is each GPU, how free is it, and who uses it? Asked of NVML by ``nvml``.

What a device has none of (NVML: not supported) is None; other refusals are raised with NVML's words.
"""

from __future__ import annotations

import proc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

MODES = {0: "default", 1: "exclusive_thread", 2: "prohibited", 3: "exclusive_process"}
SHOWN_OF_SERIAL = 4


def of_node(nv: Any) -> dict[str, Callable[[], Any]]:
    return {
        "driver": lambda: text(nv.nvmlSystemGetDriverVersion()),
        "cuda_driver": lambda: _cuda(nv.nvmlSystemGetCudaDriverVersion_v2()),
    }


def has(nv: Any, read: Callable[[], Any]) -> Any:
    """What ``read`` gives; None: NVML says that this device has no such thing."""
    try:
        return read()
    except nv.NVMLError_NotSupported:
        return None


def text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _cuda(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def _serial(nv: Any, handle: Any) -> str | None:
    """Masked here: the whole of it never leaves the node."""
    serial = has(nv, lambda: text(nv.nvmlDeviceGetSerial(handle)))
    return serial and f"...{serial[-SHOWN_OF_SERIAL:]}"


def _memory(nv: Any, handle: Any) -> list[int | None]:
    """[total, used, free, reserved]. Version 2 keeps the driver's own reserve out of ``used``."""
    try:
        memory = nv.nvmlDeviceGetMemoryInfo(handle, version=nv.nvmlMemory_v2)
    except (nv.NVMLError_FunctionNotFound, nv.NVMLError_ArgumentVersionMismatch, nv.NVMLError_NotSupported):
        memory = nv.nvmlDeviceGetMemoryInfo(handle)
    return [memory.total, memory.used, memory.free, getattr(memory, "reserved", None)]


def _mig(nv: Any, handle: Any) -> bool:
    mode = has(nv, lambda: nv.nvmlDeviceGetMigMode(handle))
    return bool(mode and mode[0])


def _mig_instances(nv: Any, handle: Any) -> list[list[Any]]:
    """[uuid, profile, total bytes] each."""
    if not _mig(nv, handle):
        return []
    found = []
    for index in range(nv.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            instance = nv.nvmlDeviceGetMigDeviceHandleByIndex(handle, index)
        except nv.NVMLError_NotFound:
            continue
        name = text(nv.nvmlDeviceGetName(instance))
        total = nv.nvmlDeviceGetMemoryInfo(instance).total
        found.append([text(nv.nvmlDeviceGetUUID(instance)), name.partition("MIG ")[2] or None, total])
    return found


def _processes(nv: Any, handle: Any) -> list[dict[str, Any]]:
    try:
        found = nv.nvmlDeviceGetComputeRunningProcesses_v3(handle)
    except nv.NVMLError_FunctionNotFound:
        found = nv.nvmlDeviceGetComputeRunningProcesses_v2(handle)
    return [
        {"pid": process.pid, "name": proc.line(f"/proc/{process.pid}/comm"), "used": process.usedGpuMemory}
        for process in found
    ]


def _persistence(nv: Any, handle: Any) -> bool | None:
    mode = has(nv, lambda: nv.nvmlDeviceGetPersistenceMode(handle))
    return None if mode is None else bool(mode)


READS: dict[str, Callable[[Any, Any], Any]] = {
    "name": lambda nv, handle: text(nv.nvmlDeviceGetName(handle)),
    "uuid": lambda nv, handle: text(nv.nvmlDeviceGetUUID(handle)),
    "pci_address": lambda nv, handle: text(nv.nvmlDeviceGetPciInfo(handle).busId),
    "memory": _memory,
    "compute_capability": lambda nv, handle: "{}.{}".format(*nv.nvmlDeviceGetCudaComputeCapability(handle)),
    "compute_mode": lambda nv, handle: MODES.get(nv.nvmlDeviceGetComputeMode(handle), "unknown"),
    "mig": _mig,
    "processes": _processes,
    "serial": _serial,
    "vbios": lambda nv, handle: has(nv, lambda: text(nv.nvmlDeviceGetVbiosVersion(handle))),
    "persistence": _persistence,
    "mig_instances": _mig_instances,
}
"""Field -> how it is read; the fields that decide whether a GPU may be loaded come first."""
