"""Ollama: which memory rules has it, and how does it spell a plan? States and translates; decides nothing.

Read in its repository in 0.33 (llm, server/sched, envconfig): a server takes a model where the file and the KV cache
of all parallel requests are at most 80 % of free memory over its GPUs, whole layers each. It is set up by its
environment; the command is the server's, a model is loaded by the first request or by ``ollama run``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diag.engines.eras import Version, rules_of
from diag.engines.flags import one_server_each, unspelled
from diag.facts.plan import Parameters, Recipe
from diag.planner.planned import Planned
from diag.planner.rules import BatchRow, EngineRules, Spread, gib
from diag.units import GIB

NEWEST = "0.33"
CONTEXTS = ((47 * GIB, 262144), (23 * GIB, 32768), (0, 4096))
"""(at least so much memory of all GPUs, context that it takes by itself)."""
ALONE = ("qwen3next", "qwen35", "nemotron_h", "lfm2")
"""Architectures that get one request at a time whatever is asked for."""


_CURRENT = EngineRules(
    engine="ollama",
    version=NEWEST,
    fraction_of="free",
    utilization=0.8,
    inside=(),
    checks_free=False,
    block_size=1,
    batches=(BatchRow(total_bytes=0, max_num_batched_tokens=512, max_num_seqs=1),),
    context=gib(0.2, 0.45, 0.62, "a CUDA context, as vLLM's logs show it"),
    sampler=Spread(low=0, mid=4, high=8, source="logits of one token in 32 bits"),
    graphs=gib(0, 0, 0, "none are kept"),
    graphs_inside_budget=False,
    non_torch_alone=gib(0, 0, 0, "counted in the fifth of memory that stays free"),
    non_torch_several=gib(0, 0, 0, "counted in the fifth of memory that stays free"),
    spans_nodes=False,
    one_node=True,
    shares_experts=False,
    starts_copies=False,
)

ERAS: Mapping[Version, EngineRules] = {(0, 33, 0): _CURRENT}


def rules(version: str | None) -> EngineRules:
    return rules_of("ollama", version, ERAS, (0, 33, 0))


def default_context(total_bytes: int) -> int:
    """What it takes by itself with so much memory on all GPUs together."""
    return next(length for least, length in CONTEXTS if total_bytes >= least)


OF_ITS_OWN = ("tensor_parallel_size", "pipeline_parallel_size", "gpu_memory_utilization")
"""It spreads layers over as many GPUs as it needs, in 80 % of what is free."""
UNQUANTIZED = "f16"
CACHE_TYPES: Mapping[str, str] = {"int8": "q8_0", "fp8": "q8_0", "q8_0": "q8_0", "int4": "q4_0", "q4_0": "q4_0"}
VARIABLES: Mapping[str, tuple[str, Callable[[Parameters], str]]] = {
    "max_model_len": ("OLLAMA_CONTEXT_LENGTH", lambda p: str(p.max_model_len)),
    "max_num_seqs": ("OLLAMA_NUM_PARALLEL", lambda p: str(p.max_num_seqs)),
    "kv_cache_dtype": ("OLLAMA_KV_CACHE_TYPE", lambda p: CACHE_TYPES.get(p.kv_cache_dtype or "", UNQUANTIZED)),
}


def setting(parameter: str, value: Any, version: str) -> str:  # noqa: ARG001 - as the other engines are asked
    """``OLLAMA_NUM_PARALLEL=4``."""
    if parameter not in VARIABLES:
        return f"{parameter}={value}"
    name, spell = VARIABLES[parameter]
    return f"{name}={spell(Parameters(**{parameter: value}))}"


GGUF = ".gguf"


def _import(file: str) -> str:
    """Only what was given a name can be loaded."""
    return f"echo FROM {file} > Modelfile; ollama create NAME -f Modelfile; ollama run NAME (NAME: of your choice)"


def _imported(model: str) -> dict[str, str]:
    """A note for what is no GGUF file yet."""
    if model.endswith(GGUF):
        return {}
    why = f"ollama serves GGUF files: {model} has to be imported first, from the FOLDER of its weights"
    beside = "where it cannot, llama.cpp's convert_hf_to_gguf.py makes a GGUF file of the folder"
    return {"recipe.import": f"{why}: {_import('FOLDER')}; {beside}"}


def recipe(planned: Planned, rules: EngineRules) -> tuple[Recipe, dict[str, str]]:
    """``ollama serve`` with its environment, and why each variable is there."""
    if planned.place is None:
        return Recipe(), {}
    if len(planned.place.nodes) > 1:
        return Recipe(), {"recipe": f"ollama {rules.version} runs on one node"}
    env: dict[str, str] = {}
    loads = f", or by: {_import(planned.model)}" if planned.model.endswith(GGUF) else ""
    why = {"recipe": f"a server: it loads a model on the first request{loads}"}
    why |= _imported(planned.model)
    why |= unspelled(planned, {*VARIABLES, *OF_ITS_OWN}, "ollama", rules.version)
    why |= one_server_each(planned, "OLLAMA_HOST")
    for parameter, (name, spell) in VARIABLES.items():
        if parameter in planned.because:
            env[name] = spell(planned.plan.parameters)
            why[name] = planned.because[parameter]
    if env.get("OLLAMA_KV_CACHE_TYPE", UNQUANTIZED) != UNQUANTIZED:
        env["OLLAMA_FLASH_ATTENTION"] = "1"
        why["OLLAMA_FLASH_ATTENTION"] = "a quantized KV cache needs it"
    return Recipe(argv=("ollama", "serve"), env=env), why
