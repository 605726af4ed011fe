"""What does an engine set for NCCL before its first collective? By version; what a user sets himself goes before it.

Read in the engines' own sources. SGLang: 0.4.0 to 0.5.23 (``_set_envs_and_config``). vLLM: cuMem off from 0.4.3 to
0.10.1.1, but not where there are IMEX channels (its troubleshooting page; ``env_override.py`` of 0.9.1; pull requests
19105 and 24141); 0.32 and 0.33 set something only in modes that are asked for: sleep with graphs
(``NCCL_GRAPH_REGISTER``), batch invariance (``NCCL_LAUNCH_MODE`` and others), expert balancing over NCCL
(``NCCL_MAX_CTAS``), ROCm (``NCCL_RAS_ENABLE``). LMDeploy: nothing from 0.9.0 to 0.17.0; 0.18.0 ``NCCL_CROSS_NIC=0``
where experts go over DeepEP. Ollama has no collectives.
"""

from __future__ import annotations

from collections.abc import Mapping

from diag.engines.eras import Version, numbers
from diag.facts.derived import package
from diag.facts.node import Node
from diag.facts.record import NotMeasured, is_known
from diag.wishes import EngineEnvironment

_NO_NVLS = {"NCCL_CUMEM_ENABLE": "0", "NCCL_NVLS_ENABLE": "0"}
SETS: Mapping[str, Mapping[Version, Mapping[str, str]]] = {
    "sglang": {
        (0, 4, 0): {**_NO_NVLS, "TORCH_NCCL_AVOID_RECORD_STREAMS": "1", "CUDA_DEVICE_MAX_CONNECTIONS": "4"},
        (0, 5, 1): {**_NO_NVLS, "CUDA_DEVICE_MAX_CONNECTIONS": "4"},
        (0, 5, 6): {**_NO_NVLS, "CUDA_DEVICE_MAX_CONNECTIONS": "8"},
    },
    "vllm": {(0, 4, 3): {"NCCL_CUMEM_ENABLE": "0"}, (0, 10, 2): {}},
}  # fmt: skip
"""Engine -> since which version -> what it sets. The borders are versions that were read, not those of the change."""
UNLESS_SET = {"sglang": (0, 5, 6), "vllm": (0, 9, 1)}
"""Since when it leaves alone what is set already."""


def of_node(engine: str, version: str | None, node: Node) -> EngineEnvironment:
    """``version`` None: what is installed there; where none is, of the newest that was read."""
    installed = version or _installed(engine, node)
    eras = SETS.get(engine, {})
    found = numbers(installed) if installed else None
    asked = found or max(eras, default=(0, 0, 0))
    since = max((era for era in eras if era <= asked), default=None)
    sets = dict(eras[since]) if since else {}
    if engine in UNLESS_SET and asked >= UNLESS_SET[engine]:
        own = _own(node)
        sets = {name: value for name, value in sets.items() if name not in own}
    return EngineEnvironment(name=f"{engine} {installed}" if installed else engine, variables=sets)


def _installed(engine: str, node: Node) -> str | None:
    try:
        return package(node, engine)
    except NotMeasured:
        return None


def _own(node: Node) -> set[str]:
    """NCCL variables that its environment has already; those ranks get as they are."""
    if not is_known(node, "settings"):
        return set()
    return {one.name for one in node.settings if one.source == "environment" and one.name.startswith("NCCL_")}
