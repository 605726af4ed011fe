"""Which nodes must not be loaded, and why?"""

from __future__ import annotations

from diag.facts.node import Node
from diag.facts.record import is_known, peek

ENGINE_KINDS = ("vllm", "sglang", "lmdeploy", "gpu")
"""Processes that make a node busy; an idle Ray or Ollama daemon does not."""


def why_busy(node: Node) -> str:
    """Empty: nothing is known to run there."""
    if is_known(node, "processes"):
        engines = [process for process in node.processes if process.kind in ENGINE_KINDS]
        if engines:
            return f"busy: {engines[0].kind} runs there (pid {engines[0].pid}), so only passive facts were taken"
    for gpu in node.gpus if is_known(node, "gpus") else ():
        foreign = [p for p in gpu.processes if not p.ours] if is_known(gpu, "processes") else []
        if foreign:
            return f"busy: gpu:{gpu.index} is in use (pid {foreign[0].pid}), so only passive facts were taken"
    return ""


def has_model(node: Node) -> bool:
    return is_known(node, "model") and bool(node.model.exists)


def reads_shared_files(node: Node) -> bool:
    """Whether the model path lies on a file system that other nodes read too."""
    mounts = node.filesystems if is_known(node, "filesystems") else ()
    return any(peek(mount, "shared") is True for mount in mounts if mount.use == "model")
