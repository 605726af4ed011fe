"""LMDeploy: which memory rules has a version, and how does it spell a plan? States and translates; decides nothing.

It has two engines; the command names the one that was planned. Here are the rules of its PyTorch engine; those of
TurboMind, which it starts by itself for the models it knows, are ``lmdeploy_turbomind.py``'s. Read in the wheels of
0.9.0 to 0.18.0 (messages, utils.get_max_batch_size, pytorch/config, pytorch/engine/executor/base): KV blocks get a
fraction of what is free after loading less a buffer for logits, which is a formula; the least of the ranks counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from diag.engines import lmdeploy_turbomind
from diag.engines.eras import Version, rules_of
from diag.engines.flags import (
    Flag,
    fraction,
    in_version,
    one_server_each,
    spelled,
    switch,
    unspelled,
    with_parameters,
    without_p2p,
)
from diag.facts.plan import Recipe
from diag.planner.captures import Captures
from diag.planner.planned import Planned
from diag.planner.rules import BatchRow, EngineRules, Spread, gib

NEWEST = "0.18"
PYTORCH, TURBOMIND = "pytorch", "turbomind"
_PREFILL = 8192


def _row(seqs: int, *names: str, tokens: int = _PREFILL) -> BatchRow:
    return BatchRow(total_bytes=0, max_num_batched_tokens=tokens, max_num_seqs=seqs, names=names)


_V0_13 = EngineRules(
    engine="lmdeploy",
    backend=PYTORCH,
    version=NEWEST,
    fraction_of="free after load",
    utilization=0.8,
    inside=("context", "non_torch"),
    checks_free=False,
    block_size=64,
    batches=(_row(1024, "h100", "h800", "h200", "l20y"), _row(384, "a100", "a800"), _row(256, "ascend", "mxc"),
             _row(128)),
    context=gib(0.2, 0.45, 0.62, "a CUDA context, as vLLM's logs show it"),
    communicator=gib(0.2, 0.7, 1.1, "as vLLM's logs show it: communication starts before the weights are loaded"),
    sampler=Spread(low=4, mid=14, high=38, source="logits in 16 and 32 bits and sorted copies: an estimate"),
    runtime_per_token=2,
    runtime_per_seq=4,
    graphs=gib(0, 0.54, 2.04, "as vLLM's logs show it"),
    few_graphs=gib(0.02, 0.33, 0.65, "as vLLM's logs show it"),
    captures=Captures(most=256, per_seq=1),
    graphs_inside_budget=False,
    non_torch_alone=gib(0.02, 0.09, 0.26, "as vLLM's logs of one GPU show it"),
    non_torch_several=gib(0.13, 0.55, 1.65, "as vLLM's logs of several GPUs show it"),
    spans_nodes=False,
    pipelines=False,
    starts_copies=False,
)  # fmt: skip
_V0_10 = replace(
    _V0_13,
    version="0.10",
    batches=tuple(replace(row, max_num_batched_tokens=4096) for row in _V0_13.batches),
)
_V0_9 = replace(
    _V0_10,
    version="0.9",
    batches=(_row(512, "h100", "h800", tokens=4096), _row(256, "a100", "a800", "ascend", "mxc", tokens=4096),
             _row(128, tokens=4096)),
    runtime_per_token=7,
    runtime_per_seq=0,
)  # fmt: skip

ERAS: Mapping[Version, EngineRules] = {(0, 13, 0): _V0_13, (0, 10, 0): _V0_10, (0, 9, 0): _V0_9}


def rules(version: str | None) -> EngineRules:
    """Of the PyTorch engine, with those of TurboMind beside them."""
    return replace(rules_of("lmdeploy", version, ERAS, (0, 18, 0)), other=lmdeploy_turbomind.rules(version))


QUANT_POLICIES: Mapping[str, str] = {"int4": "4", "int8": "8", "fp8": "16", "fp8_e4m3": "16", "fp8_e5m2": "17"}


def _quant_policy(value: str) -> tuple[str, ...]:
    return (QUANT_POLICIES.get(value, "0"),)


DEVICE_TYPES: Mapping[str, str] = {"metax": "maca", "ascend": "ascend"}
FIRST_SERVER = 23333
"""Its port, unless another is named."""

FLAGS = (
    Flag(parameter="tensor_parallel_size", name="--tp"),
    Flag(parameter="data_parallel_size", name="--dp"),
    Flag(parameter="gpu_memory_utilization", name="--cache-max-entry-count", spell=fraction),
    Flag(parameter="max_model_len", name="--session-len"),
    Flag(parameter="max_num_seqs", name="--max-batch-size"),
    Flag(parameter="max_num_batched_tokens", name="--max-prefill-token-num"),
    Flag(parameter="kv_cache_dtype", name="--quant-policy", spell=_quant_policy),
    Flag(parameter="dtype", name="--dtype"),
    Flag(parameter="block_size", name="--cache-block-seq-len"),
    switch("--eager-mode", "enforce_eager"),
)

ONE_COPY = tuple(flag for flag in FLAGS if flag.parameter != "data_parallel_size")
"""The PyTorch engine's ``--dp`` divides attention only: whole copies are servers of their own."""
OF_TURBOMIND = tuple(flag for flag in FLAGS if flag.parameter != "enforce_eager")
"""Its ``--dp`` starts whole copies; it captures no graphs."""


def recipe(planned: Planned, rules: EngineRules) -> tuple[Recipe, dict[str, str]]:
    """The launch command and, for each flag in it, why it is there."""
    place = planned.place
    if place is None:
        return Recipe(), {}
    if (planned.plan.parameters.pipeline_parallel_size or 1) > 1:
        return Recipe(), {"recipe": "lmdeploy divides no layers over a pipeline"}
    if len(place.nodes) > 1:
        return Recipe(), {"recipe": f"lmdeploy {rules.version} spans nodes through Ray or a proxy: not written by diag"}
    backend = planned.plan.parameters.backend or PYTORCH
    planned = _of_all_ranks(planned)
    known = _flags(backend, planned, rules)
    flags, why = spelled(known, planned, rules.version)
    why |= unspelled(
        planned, in_version(FLAGS, rules.version) | {"expert_parallel", "backend"}, "lmdeploy", rules.version
    )
    argv = ["lmdeploy", "serve", "api_server", planned.model, "--backend", backend, *flags]
    why |= one_server_each(planned, "--server-port") if "--dp" not in why else {}
    why["--backend"] = planned.because.get("backend", "the engine whose rules were planned with")
    _experts(planned, argv, why)
    if place.vendor in DEVICE_TYPES:
        argv += ["--device", DEVICE_TYPES[place.vendor]]
        why["--device"] = f"GPUs of {place.vendor}"
    env: dict[str, str] = {}
    without_p2p(planned, argv, env, why)
    return Recipe(argv=tuple(argv), env=env), why


def _flags(backend: str, planned: Planned, rules: EngineRules) -> tuple[Flag, ...]:
    other = rules.other
    if backend == TURBOMIND and other is not None:
        return OF_TURBOMIND if other.starts_copies else tuple(one for one in ONE_COPY if one in OF_TURBOMIND)
    return FLAGS if planned.attention_replicas > 1 else ONE_COPY


def _of_all_ranks(planned: Planned) -> Planned:
    """Without expert parallelism its ``--tp`` is that of all replicas of the attention, each a server of its own."""
    replicas, parameters = planned.attention_replicas, planned.plan.parameters
    if replicas == 1:
        return planned
    asked = planned.because.get("data_parallel_size", "replicas of the attention")
    ports = f"{asked}; each is a server of its own, from port {FIRST_SERVER} on"
    if parameters.expert_parallel:
        return with_parameters(planned, {"data_parallel_size": ports})
    because = {"tensor_parallel_size": f"ranks of all {replicas} replicas", "data_parallel_size": ports}
    return with_parameters(planned, because, tensor_parallel_size=(parameters.tensor_parallel_size or 1) * replicas)


def _experts(planned: Planned, argv: list[str], why: dict[str, str]) -> None:
    parameters = planned.plan.parameters
    if parameters.expert_parallel and "expert_parallel" in planned.because:
        argv += ["--ep", str((parameters.tensor_parallel_size or 1) * planned.attention_replicas)]
        why["--ep"] = planned.because["expert_parallel"]
