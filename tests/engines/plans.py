"""Plans as the planner hands them to an engine, and what an engine makes of them."""

from __future__ import annotations

from typing import Any

from diag.engines import ENGINES
from diag.facts.plan import EngineName, Parameters, Plan
from diag.planner.network.variables import Variable
from diag.planner.planned import Place, Planned

MODEL = "org/Model-1B"
ONE_NODE = Place(nodes=("gpu01",), addresses=("10.0.0.1",))
SOCKETS = tuple(
    Variable(name=name, values=(("gpu01", value), ("gpu02", value)), why="measured")
    for name, value in (("NCCL_SOCKET_IFNAME", "=bond0"), ("GLOO_SOCKET_IFNAME", "bond0"))
)
TWO_NODES = Place(nodes=("gpu01", "gpu02"), addresses=("10.0.0.1", "10.0.0.2"), network=SOCKETS)

EVERY: dict[str, Any] = {
    "tensor_parallel_size": 8, "pipeline_parallel_size": 2, "gpu_memory_utilization": 0.876, "max_model_len": 8192,
    "max_num_seqs": 64, "max_num_batched_tokens": 4096, "kv_cache_dtype": "fp8", "dtype": "bfloat16",
    "quantization": "fp8", "block_size": 64, "enforce_eager": True, "cpu_offload_gib": 4.0,
}  # fmt: skip
"""A value for each parameter but those of experts."""
EXPERTS: dict[str, Any] = {"tensor_parallel_size": 4, "data_parallel_size": 2, "expert_parallel": True, "sharing": True}


def planned(place: Place | None = ONE_NODE, model: str = MODEL, *, sharing: bool = False, **parameters: Any) -> Planned:
    """Every parameter that is named has a reason: ``why NAME``. ``sharing``: replicas share one set of experts."""
    plan = Plan(verdict="FITS", reason="", engine=EngineName(name=""), parameters=Parameters(**parameters))
    because = {name: f"why {name}" for name in parameters}
    replicas = parameters.get("data_parallel_size", 1) if sharing else 1
    return Planned(plan=plan, model=model, place=place, because=because, attention_replicas=replicas)


def argv(engine: str, version: str, given: Planned | None = None, **parameters: Any) -> list[str]:
    recipe, _ = ENGINES[engine].recipe(given or planned(**parameters), ENGINES[engine].rules(version))
    return list(recipe.argv)


def flags(words: list[str]) -> dict[str, str | None]:
    """Flag -> its value; None: it has none."""
    following = [*words[1:], "--"]
    return {
        word: None if after.startswith("--") else after
        for word, after in zip(words, following, strict=True)
        if word.startswith("--")
    }
