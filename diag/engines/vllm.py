"""vLLM: which memory rules has a version, and how does it spell a plan? States and translates; decides nothing.

The flags stand in the parsers (arg_utils) of 0.7.3 to 0.33. It applies its fraction to total memory.
"""

from __future__ import annotations

import json

from msgspec.structs import replace

from diag.engines.eras import Version, numbers, rules_of
from diag.engines.flags import (
    ALWAYS,
    FIRST_PORT,
    Flag,
    fraction,
    in_version,
    network,
    one_server_each,
    other_nodes,
    spelled,
    switch,
    unspelled,
    without_p2p,
    words,
)
from diag.engines.vllm_versions import DRAFT_LAYERS, ERAS, METHODS, SECOND_RUNNER
from diag.facts.plan import Recipe
from diag.planner.memory.paging.versions import vllm_paging
from diag.planner.planned import Planned
from diag.planner.rules import Drafting, EngineRules

NEWEST = "0.33"
PAGED = (0, 7, 0)
"""From here on what pages the KV cache has eras of its own."""


def rules(version: str | None) -> EngineRules:
    """Rules for ``version`` (None: the newest known); its own name on them. Raises NotKnown below the oldest known."""
    found = rules_of("vllm", version, ERAS, (0, 33, 0))
    asked = numbers(found.version)
    if asked is None or asked < PAGED:
        return found
    return replace(found, paging=vllm_paging(asked), drafting=_drafting(asked))


def _drafting(asked: Version) -> Drafting:
    return Drafting(
        methods=tuple(method for method, (since, before) in METHODS.items() if since <= asked < before),
        own_layers_of=tuple(name for name, since in DRAFT_LAYERS.items() if since <= asked),
        second_runner=SECOND_RUNNER if asked < (0, 30, 0) else tuple(METHODS),
    )


FLAGS = (
    Flag(parameter="tensor_parallel_size", name="--tensor-parallel-size"),
    Flag(parameter="pipeline_parallel_size", name="--pipeline-parallel-size"),
    Flag(parameter="data_parallel_size", name="--data-parallel-size", since=(0, 8, 3)),
    switch("--enable-expert-parallel", "expert_parallel", since=(0, 8, 0)),
    Flag(parameter="decode_context_parallel_size", name="--decode-context-parallel-size", since=(0, 10, 2)),
    Flag(parameter="gpu_memory_utilization", name="--gpu-memory-utilization", spell=fraction),
    Flag(parameter="max_model_len", name="--max-model-len"),
    Flag(parameter="max_num_seqs", name="--max-num-seqs"),
    Flag(parameter="max_num_batched_tokens", name="--max-num-batched-tokens"),
    Flag(parameter="kv_cache_dtype", name="--kv-cache-dtype", spell=words(bf16="auto", bfloat16="auto"),
         before=(0, 11, 0)),
    Flag(parameter="kv_cache_dtype", name="--kv-cache-dtype", spell=words(bf16="bfloat16", fp16="float16"),
         since=(0, 11, 0)),
    Flag(parameter="dtype", name="--dtype"),
    Flag(parameter="quantization", name="--quantization"),
    Flag(parameter="block_size", name="--block-size"),
    switch("--enforce-eager", "enforce_eager"),
    Flag(parameter="cpu_offload_gib", name="--cpu-offload-gb"),
)  # fmt: skip


SPECULATION = {"speculative_method": "method", "speculative_model": "model",
               "num_speculative_tokens": "num_speculative_tokens"}  # fmt: skip
"""Keys of ``--speculative-config``."""


def recipe(planned: Planned, rules: EngineRules) -> tuple[Recipe, dict[str, str]]:
    """The launch command and, for each flag and variable in it, why it is there."""
    if planned.place is None:
        return Recipe(), {}
    if len(planned.place.nodes) > 1 and not rules.spans_nodes:
        return Recipe(), {"recipe": f"vllm {rules.version} spans nodes through Ray only: not written by diag"}
    if planned.attention_replicas % len(planned.place.nodes) and planned.attention_replicas > 1:
        return Recipe(), {"recipe": "replicas that span nodes and share experts: not written by diag"}
    flags, why = spelled(FLAGS, planned, rules.version)
    guessing, why_guessing = _speculation(planned)
    flags, why = [*flags, *guessing], why | why_guessing
    why |= unspelled(planned, in_version(FLAGS, rules.version) | set(SPECULATION), "vllm", rules.version)
    if not rules.starts_copies:
        why |= one_server_each(planned, "--port")
    argv = [*_command(planned.model, rules.version), *flags]
    env: dict[str, str] = {}
    if planned.cpu_kv_gib is not None:
        env["VLLM_CPU_KVCACHE_SPACE"] = str(planned.cpu_kv_gib)
        why["VLLM_CPU_KVCACHE_SPACE"] = planned.because["cpu_kv_gib"]
    differ: dict[str, dict[str, str]] = {}
    if len(planned.place.nodes) > 1:
        (_replicas_over_nodes if planned.attention_replicas > 1 else _span_nodes)(planned, argv, why)
        differ = network(planned, env, why)
    without_p2p(planned, argv, env, why, "--disable-custom-all-reduce")
    return Recipe(argv=tuple(argv), env=env, env_of_nodes=differ), why


def _speculation(planned: Planned) -> tuple[list[str], dict[str, str]]:
    """One flag with an object of JSON (config/speculative.py)."""
    said = {key: getattr(planned.plan.parameters, name) for name, key in SPECULATION.items()}
    if said["method"] is None:
        return [], {}
    text = json.dumps({key: value for key, value in said.items() if value is not None})
    return ["--speculative-config", text], {"--speculative-config": planned.because.get("speculative_method", "")}


def _command(model: str, version: str) -> tuple[str, ...]:
    """Before 0.6 there is no ``vllm serve``."""
    if (numbers(version) or ALWAYS) >= (0, 6, 0):
        return ("vllm", "serve", model)
    return ("python", "-m", "vllm.entrypoints.openai.api_server", "--model", model)


def _span_nodes(planned: Planned, argv: list[str], why: dict[str, str]) -> None:
    assert planned.place is not None
    nodes, head = planned.place.nodes, planned.place.addresses[0]
    argv += ["--nnodes", str(len(nodes)), "--node-rank", "0", "--master-addr", head]
    why["--nnodes"] = f"a replica spans {', '.join(nodes)}"
    why["--node-rank"] = other_nodes(planned, "--node-rank", headless=", each with --headless")
    why["--master-addr"] = f"the address of {nodes[0]}{planned.place.address_why}"


def _replicas_over_nodes(planned: Planned, argv: list[str], why: dict[str, str]) -> None:
    """Replicas of the attention that share experts, as many on each node; the first node coordinates them."""
    assert planned.place is not None
    nodes, head = planned.place.nodes, planned.place.addresses[0]
    local = planned.attention_replicas // len(nodes)
    argv += ["--data-parallel-size-local", str(local), "--data-parallel-address", head]
    argv += ["--data-parallel-rpc-port", str(FIRST_PORT)]
    others = ", ".join(f"{node}: --data-parallel-start-rank {rank * local}" for rank, node in enumerate(nodes[1:], 1))
    why["--data-parallel-size-local"] = f"on each of {', '.join(nodes)}; the same command with --headless on {others}"
    why["--data-parallel-address"] = f"the address of {nodes[0]}{planned.place.address_why}"
    why["--data-parallel-rpc-port"] = f"a port that must be free on {nodes[0]}"
