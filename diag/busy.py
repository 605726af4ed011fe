"""Which nodes must not be loaded, and why?

Containers hide processes and some drivers hide their owners, so memory in use and utilisation count as well. A GPU that
cannot be read is not loaded by what diag does (ranks run on GPUs only where all of them are known), so on such a node
it is the processes that decide.
"""

from __future__ import annotations

from diag.facts.device import Gpu
from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known, peek
from diag.units import GIB, size

ENGINE_KINDS = ("vllm", "sglang", "lmdeploy", "gpu")
"""Processes that make a node busy; an idle Ray or Ollama daemon does not."""
IDLE_BYTES = 2 * GIB
"""More than the driver itself holds of any idle GPU."""
IDLE_UTILISATION = 0.05
SHARED_MODES = ("exclusive_process", "prohibited")


def why_busy(node: Node) -> str:
    """Empty: it is known that nothing runs there."""
    why = _why(node)
    return f"{why}, so only passive facts were taken" if why else ""


def _why(node: Node) -> str:
    try:
        engines = [process for process in node.processes if process.kind in ENGINE_KINDS]
        if engines:
            return f"busy: {engines[0].kind} runs there (pid {engines[0].pid})"
    except NotMeasured as unseen:
        if peek(node, "devices") != ():
            return f"whether an engine runs there is not known ({unseen})"
    gpus = node.gpus if is_known(node, "gpus") else ()
    return next((why for gpu in gpus if (why := _why_gpu(gpu))), "")


def _why_gpu(gpu: Gpu) -> str:
    where = f"gpu:{gpu.index}"
    foreign = [p for p in gpu.processes if not p.ours] if is_known(gpu, "processes") else []
    if foreign:
        return f"busy: {where} is in use (pid {foreign[0].pid})"
    try:
        if gpu.used_bytes > IDLE_BYTES:
            return f"busy: {size(gpu.used_bytes)} of {where} are in use"
        if gpu.utilisation > IDLE_UTILISATION:
            return f"busy: {where} is at {gpu.utilisation:.0%}"
    except NotMeasured as why:
        return f"whether {where} is in use is not known ({why})"
    if peek(gpu, "mig") is True:
        return f"{where} is divided (MIG)"
    mode = peek(gpu, "compute_mode")
    return f"{where} is in compute mode {mode}" if mode in SHARED_MODES else ""


def has_model(node: Node) -> bool:
    return is_known(node, "model") and bool(node.model.exists)


def reads_shared_files(node: Node) -> bool:
    """Whether the model path lies on a file system that other nodes read too."""
    mounts = node.filesystems if is_known(node, "filesystems") else ()
    return any(peek(mount, "shared") is True for mount in mounts if mount.use == "model")
