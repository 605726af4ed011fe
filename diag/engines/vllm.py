"""vLLM: which memory rules has a version, and how does it spell a plan? States and translates; decides nothing.

Read in the sources of 0.33.0 and 0.32.0 (arg_utils.get_batch_defaults, worker/utils.request_memory, gpu_worker,
kv_cache_planning, platforms/cpu, cpu_worker); figures seen in logs say how many and of what.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec

from diag.facts.plan import Parameters, Recipe
from diag.planner.planned import Planned
from diag.planner.rules import BatchRow, EngineRules, Spread
from diag.planner.unknown import NotKnown
from diag.units import GIB

NEWEST = "0.33"

_BATCHES = (
    BatchRow(total_bytes=160 * GIB, max_num_batched_tokens=16384, max_num_seqs=1024),
    BatchRow(total_bytes=70 * GIB, max_num_batched_tokens=8192, max_num_seqs=1024),
    BatchRow(total_bytes=0, max_num_batched_tokens=2048, max_num_seqs=256),
)

_V1_SAMPLER = Spread(
    low=17,
    mid=38.9,
    high=39.6,
    source="38.4 to 39.6 bytes × sequences × vocabulary in 7 of 8 profiles of 0.11 on H100, 17 in one",
)
_V2_SAMPLER = Spread(
    low=6.5,
    mid=6.5,
    high=39.6,
    source="6.5 bytes × sequences × vocabulary in one profile of its new model runner; at most what the old one took",
)


def _gib(low: float, mid: float, high: float, source: str) -> Spread:
    return Spread(low=low * GIB, mid=mid * GIB, high=high * GIB, source=source)


_RULES_0_33 = EngineRules(
    engine="vllm",
    version="0.33",
    utilization=0.92,
    block_size=16,
    cpu_block_size=128,
    batches=_BATCHES,
    small_batch_names=("a100", "gb10"),
    cpu_batch=BatchRow(total_bytes=0, max_num_batched_tokens=2048, max_num_seqs=128),
    graphs_inside_budget=True,
    context=_gib(0.25, 0.4, 0.5, "a CUDA context takes 0.25 to 0.5 GiB"),
    sampler=_V2_SAMPLER,
    graphs=_gib(0.11, 0.9, 3.45, "15 logs of V1: quartiles 0.11 and 0.90, largest 3.45 GiB"),
    non_torch_alone=_gib(0.06, 0.14, 0.35, "13 logs of one GPU: 0.02 to 0.35 GiB, one of 1.79"),
    non_torch_several=_gib(0.25, 0.6, 2.43, "logs of several GPUs: 0.21 to 2.43 GiB, more with other transports"),
    cpu_process=_gib(
        1.9, 2.3, 4.0, "0.32 with Qwen3-0.6B on 2 CPUs: 2.3 GiB in its three processes after compiling; 1.9 eager"
    ),
    spans_nodes=True,
)

RULES: Mapping[tuple[int, int], EngineRules] = {
    (0, 33): _RULES_0_33,
    (0, 21): msgspec.structs.replace(_RULES_0_33, version="0.21", sampler=_V1_SAMPLER, small_batch_names=("a100",)),
    (0, 20): msgspec.structs.replace(
        _RULES_0_33,
        version="0.20",
        sampler=_V1_SAMPLER,
        small_batch_names=("a100",),
        graphs_inside_budget=False,
        spans_nodes=False,
    ),
    (0, 10): msgspec.structs.replace(
        _RULES_0_33,
        version="0.10",
        utilization=0.90,
        sampler=_V1_SAMPLER,
        small_batch_names=("a100",),
        graphs_inside_budget=False,
        spans_nodes=False,
    ),
}
"""From which version on they hold, newest first."""


def rules(version: str | None) -> EngineRules:
    """Rules for ``version`` (None: the newest known); its own name on them. Raises NotKnown below the oldest known."""
    if version is None:
        note = f"no version named or installed: planned for {NEWEST}, the newest diag knows"
        return msgspec.structs.replace(_RULES_0_33, note=note)
    match = re.match(r"(\d+)\.(\d+)", version)
    if match is None:
        raise NotKnown(f"vllm version {version!r}", f"name one: --engine vllm=={NEWEST}")
    asked = int(match[1]), int(match[2])
    since = next((known for known in RULES if known <= asked), None)
    if since is None:
        raise NotKnown(f"memory rules of vllm {version}: known from 0.10 to {NEWEST}", f"upgrade vllm to {NEWEST}")
    newer = (
        f"{version} is newer than {NEWEST}, the newest diag knows: planned by its rules" if asked > (0, 33) else None
    )
    return msgspec.structs.replace(RULES[since], version=version, note=newer)


_FLAGS: Mapping[str, tuple[str, Callable[[Parameters], str]]] = {
    "tensor_parallel_size": ("--tensor-parallel-size", lambda p: str(p.tensor_parallel_size)),
    "pipeline_parallel_size": ("--pipeline-parallel-size", lambda p: str(p.pipeline_parallel_size)),
    "data_parallel_size": ("--data-parallel-size", lambda p: str(p.data_parallel_size)),
    "gpu_memory_utilization": ("--gpu-memory-utilization", lambda p: f"{p.gpu_memory_utilization:.2f}"),
    "max_model_len": ("--max-model-len", lambda p: str(p.max_model_len)),
    "max_num_seqs": ("--max-num-seqs", lambda p: str(p.max_num_seqs)),
    "max_num_batched_tokens": ("--max-num-batched-tokens", lambda p: str(p.max_num_batched_tokens)),
}
"""Spelled alike from 0.10 to 0.33."""


def recipe(planned: Planned, rules: EngineRules) -> tuple[Recipe, dict[str, str]]:
    """The launch command and, for each flag and variable in it, why it is there."""
    if planned.place is None:
        return Recipe(), {}
    if len(planned.place.nodes) > 1 and not rules.spans_nodes:
        return Recipe(), {"recipe": f"vllm {rules.version} spans nodes through Ray only: not written by diag"}
    argv, env, why = ["vllm", "serve", planned.model], {}, {}
    for parameter, (flag, spell) in _FLAGS.items():
        if parameter in planned.because:
            argv += [flag, spell(planned.plan.parameters)]
            why[flag] = planned.because[parameter]
    if planned.cpu_kv_gib is not None:
        env["VLLM_CPU_KVCACHE_SPACE"] = str(planned.cpu_kv_gib)
        why["VLLM_CPU_KVCACHE_SPACE"] = planned.because["cpu_kv_gib"]
    if len(planned.place.nodes) > 1:
        _span_nodes(planned, argv, env, why)
    return Recipe(argv=tuple(argv), env=env), why


def _span_nodes(planned: Planned, argv: list[str], env: dict[str, str], why: dict[str, str]) -> None:
    assert planned.place is not None
    nodes, head = planned.place.nodes, planned.place.addresses[0]
    argv += ["--nnodes", str(len(nodes)), "--node-rank", "0", "--master-addr", head]
    others = ", ".join(f"{node}: --node-rank {rank}" for rank, node in enumerate(nodes[1:], 1))
    why["--nnodes"] = f"a replica spans {', '.join(nodes)}"
    why["--node-rank"] = f"for {nodes[0]}; the same command on {others}, each with --headless"
    why["--master-addr"] = f"the address of {nodes[0]} that diag connected to"
    if planned.place.interface:
        for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
            env[name] = planned.place.interface
            why[name] = "carried the measured collective between the nodes"
