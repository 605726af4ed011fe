"""What is the plan for nodes without accelerator: vLLM's CPU backend, from measured RAM and cores?

The backend takes the KV cache's size outright, in whole GiB. One rank, in the memory of one NUMA node.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from diag.facts.node import Node
from diag.facts.plan import EngineName, Estimate, KvCache, MemorySplit, Parameters, Plan, PlanVerdict
from diag.planner import kv, overheads
from diag.planner.checkpoint import Checkpoint, checkpoint
from diag.planner.loading import load_seconds
from diag.planner.models import Model
from diag.planner.overheads import Batch
from diag.planner.planned import Place, Planned
from diag.planner.ram import Ram, least_ram
from diag.planner.rules import EngineRules
from diag.planner.shapes import Shapes
from diag.planner.trial import SHORTEST_USEFUL, loaded, remainder
from diag.planner.weights import stage_weight_bytes
from diag.units import GIB, size

KV_SHARE = 0.5
"""Of the available RAM at most this goes to the KV cache: other processes live there too."""
ELSEWHERE = "for GPUs that are not here: diag plan --hardware 8xH100-80GB --model MODEL"


class CpuCase(msgspec.Struct, frozen=True, kw_only=True):
    """All that a CPU plan follows from, and its outcome: ``kv_gib`` 0 where it does not fit."""

    nodes: tuple[Node, ...]
    ram: Ram
    model: Model
    shapes: Shapes
    rules: EngineRules
    files: Checkpoint
    memory: MemorySplit
    kv_gib: int = 0
    verdict: PlanVerdict = "NO"

    @property
    def per_token(self) -> int:
        return kv.bytes_per_token(self.shapes, tp=1, layers=self.shapes.layers)

    @property
    def max_model_len(self) -> int:
        return min(self.shapes.max_len, self.tokens(self.kv_gib))

    def tokens(self, gib: int) -> int:
        return kv.capacity_tokens(gib * GIB, self.per_token, self.rules.cpu_block_size)


def plan_cpu(nodes: Sequence[Node], model: Model, shapes: Shapes, rules: EngineRules) -> Planned:
    """For the node with the least RAM available; the same command serves on each of the others."""
    ram, files = least_ram(nodes), checkpoint(model, shapes)
    case = CpuCase(
        nodes=tuple(nodes),
        ram=ram,
        model=model,
        shapes=shapes,
        rules=rules,
        files=files,
        memory=_split(shapes, rules, ram.available_bytes, files.extra_bytes),
    )
    return _planned(_with_kv(case))


def _split(shapes: Shapes, rules: EngineRules, available_bytes: int, extra_bytes: int) -> MemorySplit:
    row = rules.cpu_batch
    batch = Batch(max_num_seqs=row.max_num_seqs, max_num_batched_tokens=row.max_num_batched_tokens)
    weights = stage_weight_bytes(shapes, tp=1, pp=1, stage=0)
    terms = (
        loaded(weights, extra_bytes),
        overheads.activation(shapes, rules, batch, tp=1),
        overheads.estimate(rules.cpu_process),
    )
    return MemorySplit(
        weights_bytes=terms[0],
        kv_cache_bytes=remainder(available_bytes, terms),
        activation_bytes=terms[1],
        cuda_graph_bytes=Estimate(low=0, mid=0, high=0),
        non_torch_bytes=terms[2],
    )


def _with_kv(case: CpuCase) -> CpuCase:
    """Whole GiB that fit for sure; else that probably fit; else none."""
    useful = min(SHORTEST_USEFUL, case.shapes.max_len)
    cap = int(case.ram.available_bytes * KV_SHARE)
    for room, verdict in ((case.memory.kv_cache_bytes.low, "FITS"), (case.memory.kv_cache_bytes.mid, "RISKY")):
        gib = min(room or 0, cap) // GIB
        if case.tokens(gib) >= useful:
            sure = verdict == "FITS" and case.ram.certain
            taken = Estimate(low=gib * GIB, mid=gib * GIB, high=gib * GIB)
            memory = msgspec.structs.replace(case.memory, kv_cache_bytes=taken)
            return msgspec.structs.replace(case, memory=memory, kv_gib=gib, verdict="FITS" if sure else "RISKY")
    return case


def _planned(case: CpuCase) -> Planned:
    fits = case.verdict != "NO"
    seconds, speed_source = load_seconds(case.model, case.nodes, case.files.total_bytes)
    plan = Plan(
        verdict=case.verdict,
        reason=_reason(case),
        lever=None if case.verdict == "FITS" else "a node with more RAM, or a smaller model",
        engine=EngineName(name=case.rules.engine, version=case.rules.version),
        parameters=_parameters(case),
        memory=case.memory,
        kv=_kv(case) if fits else KvCache(bytes_per_token=case.per_token, block_size=case.rules.cpu_block_size),
        load_seconds=seconds,
        sources=_sources(case) | {"load_seconds": speed_source},
    )
    if not fits:
        return Planned(plan=plan, model=case.model.name)
    place = Place(nodes=(case.ram.node.name,), addresses=(case.ram.node.address,))
    return Planned(plan=plan, model=case.model.name, place=place, because=_because(case), cpu_kv_gib=case.kv_gib)


def _kv(case: CpuCase) -> KvCache:
    return kv.kv_cache(case.kv_gib * GIB, case.per_token, case.rules.cpu_block_size, case.max_model_len)


def _parameters(case: CpuCase) -> Parameters:
    row = case.rules.cpu_batch
    return Parameters(
        tensor_parallel_size=1,
        pipeline_parallel_size=1,
        data_parallel_size=1,
        expert_parallel=False,
        max_model_len=case.max_model_len or None,
        max_num_seqs=row.max_num_seqs,
        max_num_batched_tokens=row.max_num_batched_tokens,
        kv_cache_dtype="auto",
        dtype=case.shapes.dtype,
        block_size=case.rules.cpu_block_size,
    )


def _reason(case: CpuCase) -> str:
    nodes = len(case.nodes)
    on = f"no accelerator on {nodes} node{'s' if nodes > 1 else ''}: {case.rules.engine}'s CPU backend"
    if case.verdict == "NO":
        return f"{on} does not fit: {_too_large(case)} of {size(case.ram.available_bytes)} of RAM; {ELSEWHERE}"
    doubt = "" if case.verdict == "FITS" else ", if its processes stay small"
    return f"{on}, one replica a node, {case.kv_gib} GiB of KV cache{doubt}; {ELSEWHERE}"


def _too_large(case: CpuCase) -> str:
    memory = case.memory
    terms = {"weights": memory.weights_bytes.mid or 0, "the engine's own processes": memory.non_torch_bytes.mid or 0}
    term = max(terms, key=lambda name: terms[name])
    return f"{term} take {size(terms[term])}"


def _because(case: CpuCase) -> dict[str, str]:
    lines = {"cpu_kv_gib": f"{case.ram.source}; beside weights and processes, at most {KV_SHARE:.0%} of it"}
    if case.max_model_len < case.shapes.max_len:
        lines["max_model_len"] = (
            f"the KV cache holds no longer request; the model itself allows {case.shapes.max_len:,}"
        )
    return lines


def _sources(case: CpuCase) -> dict[str, str]:
    rules = case.rules
    return {
        "engine.version": rules.note or f"rules of {rules.engine} {rules.version}",
        "model": case.model.told,
        "weights_bytes": case.files.source,
        "kv_cache_bytes": case.ram.source,
        "activation_bytes": f"the larger of a sampling step ({rules.sampler.source}) and a forward pass (formula)",
        "non_torch_bytes": rules.cpu_process.source,
        "max_num_seqs": f"what {rules.engine} takes by itself on a CPU",
        "recipe": "once on each node",
        "speed": "not predicted",
    }
