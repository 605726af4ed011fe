"""What is the plan for nodes without accelerator: vLLM's CPU backend, from measured RAM and cores?

The backend takes the KV cache's size outright, in whole GiB. One rank, in the memory of one NUMA node.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from diag.facts.node import Node
from diag.facts.plan import EngineName, Estimate, KvCache, MemorySplit, Parameters, Plan, PlanVerdict
from diag.planner.loading import load_seconds
from diag.planner.memory import terms as overhead
from diag.planner.memory.batch import Batch
from diag.planner.memory.paging import vllm as paging
from diag.planner.memory.paging.paged import Paged
from diag.planner.memory.paging.settings import Settings
from diag.planner.memory.paging.split import Split
from diag.planner.memory.steps import Ranks
from diag.planner.model.architecture import Architecture, CompressedCache, LatentCache
from diag.planner.model.checkpoint import Checkpoint, checkpoint
from diag.planner.model.formats.held import Loader, held
from diag.planner.model.models import Model, read_architecture
from diag.planner.model.shards import rank_weight_bytes
from diag.planner.planned import Place, Planned
from diag.planner.ram import Ram, least_ram
from diag.planner.rules import EngineRules
from diag.planner.served import served
from diag.planner.trial import kv_cache
from diag.planner.unknown import NotKnown
from diag.planner.wanted import Wanted
from diag.units import GIB, size

KV_SHARE = 0.5
"""Of the available RAM at most this goes to the KV cache: other processes live there too."""
LENGTH_STEP = 256
"""Contexts that are as long as fits are multiples of it."""
RANK = {"FITS": 2, "RISKY": 1, "NO": 0}
ELSEWHERE = "for GPUs that are not here: diag plan --hardware 8xH100-80GB --model MODEL"


class CpuCase(msgspec.Struct, frozen=True, kw_only=True):
    """All that a CPU plan follows from, and its outcome: ``kv_gib`` 0 where it does not fit."""

    nodes: tuple[Node, ...]
    ram: Ram
    model: Model
    architecture: Architecture
    rules: EngineRules
    files: Checkpoint
    wanted: Wanted
    max_model_len: int
    memory: MemorySplit
    kv_gib: int = 0
    verdict: PlanVerdict = "NO"

    @property
    def seqs(self) -> int:
        return _seqs(self.rules, self.wanted)

    @property
    def layout(self) -> paging.Layout:
        assert self.rules.paging is not None
        settings = Settings(
            # On a CPU a batch starts when the one before has ended (platforms/cpu.py).
            rules=msgspec.structs.replace(self.rules.paging, overlaps=False),
            max_model_len=self.max_model_len,
            max_num_batched_tokens=self.rules.cpu_batch.max_num_batched_tokens,
            block_size=self.rules.cpu_block_size,
        )
        return paging.layout(self.architecture, Split(tp=1), settings)

    def paged(self, gib: int) -> Paged:
        return paging.paged(self.layout, gib * GIB)

    def gib(self, room: int | None) -> int:
        """Whole GiB of KV cache in ``room``, of which it may take a part of the RAM."""
        return min(room or 0, int(self.ram.available_bytes * KV_SHARE)) // GIB


def plan_cpu(nodes: Sequence[Node], model: Model, rules: EngineRules, wanted: Wanted) -> Planned:
    """For the node with the least RAM available; the same command serves on each of the others. Raises NotKnown."""
    if not rules.cpu_block_size or rules.paging is None:
        raise NotKnown(f"{rules.engine} without accelerators", "--engine vllm")
    architecture = read_architecture(model)
    if _attends_sparsely(architecture):
        return _refused("the model's sparse attention: the CPU backend has none", ELSEWHERE, model, rules)
    known = served(rules.kind, rules.version, architecture.name)
    if known.kind == "unknown":
        raise NotKnown(known.why, known.lever)
    if known.kind == "no":
        return _refused(known.why, known.lever or "another engine", model, rules)
    if (too_long := wanted.too_long(architecture.max_len)) is not None:
        return _refused(*too_long, model, rules)
    ram, files = least_ram(nodes), checkpoint(model, architecture)
    whole = CpuCase(
        nodes=tuple(nodes),
        ram=ram,
        model=model,
        architecture=architecture,
        rules=rules,
        files=files,
        wanted=wanted,
        max_model_len=architecture.max_len,
        memory=_split(architecture, rules, wanted, ram.available_bytes, files.extra_bytes),
    )
    lengths = wanted.contexts(architecture.max_len) or _as_long_as_fits(whole)
    cases = [_with_kv(msgspec.structs.replace(whole, max_model_len=length)) for length in lengths]
    return _planned(max(cases, key=lambda case: (RANK[case.verdict], case.max_model_len)))


def _as_long_as_fits(case: CpuCase) -> tuple[int, ...]:
    """For sure, and probably."""
    room, most = case.memory.kv_cache_bytes, case.max_model_len
    found = (paging.longest(case.layout, case.gib(left) * GIB, most) for left in (room.low, room.mid))
    lengths = (length if length == most else length // LENGTH_STEP * LENGTH_STEP for length in found)
    return tuple(length for length in lengths if length) or (LENGTH_STEP,)


def _attends_sparsely(architecture: Architecture) -> bool:
    """The backend raises (platforms/cpu.py). Raises NotKnown for layers that it has kernels for on some CPUs only."""
    caches = {cache for layer in architecture.layers for cache in layer.caches}
    if any(isinstance(cache, CompressedCache) for cache in caches):
        raise NotKnown("how compressed layers are paged on a CPU", ELSEWHERE)
    return any(isinstance(cache, LatentCache) and cache.sparse for cache in caches)


def _refused(why: str, lever: str, model: Model, rules: EngineRules) -> Planned:
    plan = Plan(
        verdict="NO",
        reason=f"cannot be: {why}",
        lever=lever,
        engine=EngineName(name=rules.engine, version=rules.version),
        sources={"engine.version": rules.note or f"rules of {rules.engine} {rules.version}", "model": model.told},
    )
    return Planned(plan=plan, model=model.name)


def _as_settled(case: CpuCase) -> None:
    """Context and number of requests vary, all else is as the backend has it."""
    pinned, planned = msgspec.structs.replace(case.wanted.pinned, max_model_len=None), _parameters(case)
    for name in pinned.__struct_fields__:
        value, have = getattr(pinned, name), getattr(planned, name)
        if value not in {None, False, have}:
            raise NotKnown(f"{name} {value} without accelerators: planned for is {have}", f"leave {name} to the plan")


def _seqs(rules: EngineRules, wanted: Wanted) -> int:
    return wanted.pinned.max_num_seqs or wanted.concurrency or rules.cpu_batch.max_num_seqs


def _split(
    architecture: Architecture, rules: EngineRules, wanted: Wanted, available_bytes: int, extra_bytes: int
) -> MemorySplit:
    tokens = rules.cpu_batch.max_num_batched_tokens
    batch = Batch(max_num_seqs=_seqs(rules, wanted), max_num_batched_tokens=tokens, enforce_eager=True)
    loaded = held(architecture, Loader(engine=rules.kind, version=rules.version, capability=None, vendor="cpu"))
    weights = rank_weight_bytes(loaded, tp=1) + extra_bytes
    steps = overhead.terms(architecture, rules, batch, Ranks(tp=1))
    activation = overhead.total((steps.activation, steps.kept))
    process = Estimate(low=int(rules.cpu_process.low), mid=int(rules.cpu_process.mid), high=int(rules.cpu_process.high))
    return MemorySplit(
        weights_bytes=Estimate(low=weights, mid=weights, high=weights),
        kv_cache_bytes=_remainder(available_bytes - weights, (activation, process)),
        activation_bytes=activation,
        cuda_graph_bytes=Estimate(low=0, mid=0, high=0),
        non_torch_bytes=process,
    )


def _remainder(room_bytes: int, terms: tuple[Estimate, ...]) -> Estimate:
    """Lowest where the terms are highest; never below nothing."""
    return Estimate(
        low=max(0, room_bytes - sum(term.high or 0 for term in terms)),
        mid=max(0, room_bytes - sum(term.mid or 0 for term in terms)),
        high=max(0, room_bytes - sum(term.low or 0 for term in terms)),
    )


def _with_kv(case: CpuCase) -> CpuCase:
    """Whole GiB that fit for sure; else that probably fit; else none."""
    for room, verdict in ((case.memory.kv_cache_bytes.low, "FITS"), (case.memory.kv_cache_bytes.mid, "RISKY")):
        gib = case.gib(room)
        if gib and case.paged(gib).starts:
            sure = verdict == "FITS" and case.ram.certain
            taken = Estimate(low=gib * GIB, mid=gib * GIB, high=gib * GIB)
            memory = msgspec.structs.replace(case.memory, kv_cache_bytes=taken)
            return msgspec.structs.replace(case, memory=memory, kv_gib=gib, verdict="FITS" if sure else "RISKY")
    return case


def _planned(case: CpuCase) -> Planned:
    fits = case.verdict != "NO"
    _as_settled(case)
    seconds, speed_source = load_seconds(case.model, case.nodes, case.files.total_bytes)
    plan = Plan(
        verdict=case.verdict,
        reason=_reason(case),
        lever=None if case.verdict == "FITS" else "a node with more RAM, or a smaller model",
        engine=EngineName(name=case.rules.engine, version=case.rules.version),
        parameters=_parameters(case),
        memory=case.memory,
        kv=_kv(case),
        load_seconds=seconds,
        sources=_sources(case) | {"load_seconds": speed_source},
        nodes=tuple(node.name for node in case.nodes),
    )
    if not fits:
        return Planned(plan=plan, model=case.model.name)
    place = Place(nodes=(case.ram.node.name,), addresses=(case.ram.node.address,))
    return Planned(plan=plan, model=case.model.name, place=place, because=_because(case), cpu_kv_gib=case.kv_gib)


def _kv(case: CpuCase) -> KvCache:
    return kv_cache(case.paged(max(1, case.kv_gib)), fits=bool(case.kv_gib))


def _parameters(case: CpuCase) -> Parameters:
    row = case.rules.cpu_batch
    return Parameters(
        tensor_parallel_size=1,
        pipeline_parallel_size=1,
        data_parallel_size=1,
        expert_parallel=False,
        max_model_len=case.max_model_len if case.kv_gib else None,
        max_num_seqs=case.seqs,
        max_num_batched_tokens=row.max_num_batched_tokens,
        kv_cache_dtype="auto",
        dtype=case.architecture.dtype,
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
    gib = case.gib(memory.kv_cache_bytes.mid)
    if gib:
        needed = size(case.paged(gib).request_bytes)
        return f"one request of {case.max_model_len:,} tokens takes {needed}, {gib} GiB of KV cache are left"
    terms = {"weights": memory.weights_bytes.mid or 0, "the engine's own processes": memory.non_torch_bytes.mid or 0}
    term = max(terms, key=lambda name: terms[name])
    return f"{term} take {size(terms[term])}"


def _because(case: CpuCase) -> dict[str, str]:
    lines = {"cpu_kv_gib": f"{case.ram.source}; beside weights and processes, at most {KV_SHARE:.0%} of it"}
    if case.max_model_len < case.architecture.max_len:
        most = f"the model itself allows {case.architecture.max_len:,}"
        why = _length_why(case.wanted)
        lines["max_model_len"] = f"{why}; {most}"
    if case.seqs != case.rules.cpu_batch.max_num_seqs:
        lines["max_num_seqs"] = "as you set it"
    return lines


def _length_why(wanted: Wanted) -> str:
    if wanted.fixed_context:
        return "as you set it"
    return "as long as fits" if wanted.as_long_as_fits else f"{wanted.goal}: a modest length to start with"


def _sources(case: CpuCase) -> dict[str, str]:
    rules = case.rules
    return {
        "engine.version": rules.note or f"rules of {rules.engine} {rules.version}",
        "goal": case.wanted.goal,
        "model": case.model.told,
        "weights_bytes": case.files.source,
        "kv_cache_bytes": case.ram.source,
        "activation_bytes": f"the larger of a sampling step ({rules.sampler.source}) and a forward pass (formula)",
        "non_torch_bytes": rules.cpu_process.source,
        "max_num_seqs": f"what {rules.engine} takes by itself on a CPU",
        **({"recipe": "once on each node"} if len(case.nodes) > 1 else {}),
        "speed": "not predicted",
    }
