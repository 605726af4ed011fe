"""Which nodes must not be loaded, and why?

Containers hide processes and some drivers hide their owners, so memory in use and utilisation count as well. A GPU that
cannot be read is not loaded by what diag does (ranks run on GPUs only where all of them are known), so on such a node
it is the processes that decide.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from diag.facts.alone import IDLE_UTILISATION
from diag.facts.derived import idle_bytes
from diag.facts.device import Gpu, GpuSystem
from diag.facts.lost import why_no_more
from diag.facts.node import Node
from diag.facts.record import Missing, NotMeasured, is_known, peek
from diag.units import size

ENGINE_KINDS = ("vllm", "sglang", "lmdeploy", "gpu")
"""Processes that make a node busy; an idle Ray or Ollama daemon does not."""
NVIDIA = "nvidia"
SHARED_MODES = ("exclusive_process", "prohibited")


def why_busy(node: Node, permitted: Collection[str] = ()) -> str:
    """Empty: it is known that nothing runs there, or what does is ``permitted``: busy, mig, mps, exclusive."""
    why = next((why for kind, why in _reasons(node) if kind not in permitted), "")
    return f"{why}, so only passive facts were taken" if why else ""


def why_in_use(node: Node) -> str:
    """By whom, also where loading it is permitted: what endangers others is not done there. Empty: by nobody."""
    return next((why for kind, why in _reasons(node) if kind in ("busy", "mps")), "")


def why_not_on_gpus(node: Node) -> str:
    """Why its GPUs stand still also where load is permitted: in use, shared, divided, or stopped before. Else empty."""
    return next((why for _, why in _reasons(node)), "") or why_stopped(node)


def why_stopped(node: Node) -> str:
    """What ended measurements of its GPUs, and so speaks against more of them; empty: nothing did."""
    return why_no_more(node.speed) if is_known(node, "speed") else ""


def _reasons(node: Node) -> Iterator[tuple[str, str]]:
    """Each with the permission that overrules it."""
    try:
        engines = [process for process in node.processes if process.kind in ENGINE_KINDS]
        if engines:
            yield "busy", f"busy: {engines[0].kind} runs there (pid {engines[0].pid})"
    except NotMeasured as unseen:
        if peek(node, "devices") != ():
            yield "busy", f"whether an engine runs there is not known ({unseen})"
    gpus = _gpus(node)
    if shared := _shared_by_mps(node, nvidia=any(gpu.vendor == NVIDIA for gpu in gpus)):
        yield "mps", shared
    for gpu in gpus:
        yield from _of_gpu(gpu)


def _shared_by_mps(node: Node, *, nvidia: bool) -> str:
    """Only NVIDIA has MPS: where that was not seen, one of its GPUs may be shared."""
    system = peek(node, "gpu_system")
    mps = peek(system, "mps") if isinstance(system, GpuSystem) else system
    if isinstance(mps, Missing):
        return f"whether its GPUs are shared (MPS) is not known ({mps.why})" if nvidia else ""
    return "its GPUs are shared (MPS)" if mps is True else ""


def _gpus(node: Node) -> tuple[Gpu, ...]:
    """Those of both sides, where a container has an own: of the others' processes it may see none."""
    host = node.host_side if is_known(node, "host_side") else None
    return tuple(gpu for side in (node, host) if side is not None and is_known(side, "gpus") for gpu in side.gpus)


def _of_gpu(gpu: Gpu) -> Iterator[tuple[str, str]]:
    where = f"gpu:{gpu.index}"
    foreign = [p for p in gpu.processes if not p.ours] if is_known(gpu, "processes") else []
    if foreign:
        yield "busy", f"busy: {where} is in use (pid {foreign[0].pid})"
    try:
        if gpu.used_bytes > idle_bytes(gpu):
            yield "busy", f"busy: {size(gpu.used_bytes)} of {where} are in use"
        if gpu.utilisation > IDLE_UTILISATION:
            yield "busy", f"busy: {where} is at {gpu.utilisation:.0%}"
    except NotMeasured as why:
        yield "busy", f"whether {where} is in use is not known ({why})"
    mig = peek(gpu, "mig")
    if mig is True:
        yield "mig", f"{where} is divided (MIG)"
    elif isinstance(mig, Missing) and gpu.vendor == NVIDIA:  # what has no MIG says so, and that is False
        yield "mig", f"whether {where} is divided (MIG) is not known ({mig.why})"
    mode = peek(gpu, "compute_mode")
    if mode in SHARED_MODES:
        yield "exclusive", f"{where} is in compute mode {mode}"
    elif isinstance(mode, Missing) and gpu.vendor == NVIDIA:
        yield "exclusive", f"whether {where} lets several processes in is not known ({mode.why})"


def has_model(node: Node) -> bool:
    return is_known(node, "model") and bool(node.model.exists)


def reads_shared_files(node: Node) -> bool:
    """Whether the model path lies on a file system that other nodes read too."""
    mounts = node.filesystems if is_known(node, "filesystems") else ()
    return any(peek(mount, "shared") is True for mount in mounts if mount.use == "model")
