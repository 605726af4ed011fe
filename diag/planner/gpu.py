"""What is the plan for the GPUs that a Snapshot found?"""

from __future__ import annotations

from diag.facts.plan import Discarded, EngineName, KvCache, Parameters, Plan
from diag.facts.record import NotMeasured
from diag.facts.snapshot import Snapshot
from diag.planner import gpu_words, kv
from diag.planner.accelerators import Accelerators
from diag.planner.budget import budget
from diag.planner.case import Case
from diag.planner.checkpoint import checkpoint
from diag.planner.links import tensor_parallel_over_nodes
from diag.planner.loading import load_seconds
from diag.planner.models import Model
from diag.planner.planned import Place, Planned
from diag.planner.rules import EngineRules
from diag.planner.search import Found, search
from diag.planner.shapes import Shapes
from diag.planner.trial import Question, Trial
from diag.planner.unknown import NotKnown


def plan_gpus(snapshot: Snapshot, found: Accelerators, model: Model, shapes: Shapes, rules: EngineRules) -> Planned:
    """Raises NotKnown where the model cannot be divided or its files contradict its config."""
    case = Case(
        snapshot=snapshot,
        found=found,
        model=model,
        shapes=shapes,
        rules=rules,
        budget=budget(found, rules),
        files=checkpoint(model, shapes),
        own=rules.batch(found.smallest.name, found.smallest.total_bytes),
    )
    result = _search(case)
    if result.best is None:
        reason = f"no layout divides the model over {found.per_node} GPUs a node: {result.discarded[-1].reason}"
        raise NotKnown(reason, "use a number of GPUs that divides its heads")
    return _planned(case, result.best, (*_over_nodes(case), *result.discarded))


def _search(case: Case) -> Found:
    question = Question(
        shapes=case.shapes,
        rules=case.rules,
        budget_bytes=case.budget.bytes,
        extra_weight_bytes=case.files.extra_bytes,
    )
    return search(question, per_node=case.found.per_node, nodes=len(case.found.nodes), own=case.own)


def _over_nodes(case: Case) -> tuple[Discarded, ...]:
    nodes = len(case.found.nodes)
    return (tensor_parallel_over_nodes(case.snapshot, case.found.per_node * nodes),) if nodes > 1 else ()


def _planned(case: Case, best: Trial, discarded: tuple[Discarded, ...]) -> Planned:
    seconds, speed_source = load_seconds(case.model, case.found.nodes, case.files.total_bytes)
    fits = best.verdict != "NO"
    parameters = _parameters(case, best)
    plan = Plan(
        verdict=best.verdict,
        reason=gpu_words.reason(case, best),
        lever=gpu_words.lever(case, best),
        engine=EngineName(name=case.rules.engine, version=case.rules.version),
        parameters=parameters,
        memory=best.memory,
        kv=_kv(case, best),
        load_seconds=seconds,
        discarded=discarded,
        sources=gpu_words.sources(case, best) | {"load_seconds": speed_source},
    )
    if not fits:
        return Planned(plan=plan, model=case.model.name)
    return Planned(
        plan=plan, model=case.model.name, place=_place(case, best), because=gpu_words.because(case, best, parameters)
    )


def _kv(case: Case, best: Trial) -> KvCache:
    """From the probable estimates; where nothing fits, only what a token takes."""
    block_size = case.rules.block_size
    if best.verdict == "NO":
        return KvCache(bytes_per_token=best.per_token, block_size=block_size)
    return kv.kv_cache(best.memory.kv_cache_bytes.mid or 0, best.per_token, block_size, best.max_model_len)


def _parameters(case: Case, best: Trial) -> Parameters:
    layout, batch = best.layout, best.batch
    return Parameters(
        tensor_parallel_size=layout.tp,
        pipeline_parallel_size=layout.pp,
        data_parallel_size=case.replicas_per_node(best.layout),
        expert_parallel=False,
        gpu_memory_utilization=case.budget.utilization,
        max_model_len=best.max_model_len or None,
        max_num_seqs=batch.max_num_seqs,
        max_num_batched_tokens=batch.max_num_batched_tokens,
        kv_cache_dtype="auto",
        dtype=case.shapes.dtype,
        block_size=case.rules.block_size,
        enforce_eager=False,
    )


def _place(case: Case, best: Trial) -> Place:
    nodes = case.found.nodes[: best.layout.nodes]
    return Place(
        nodes=tuple(node.name for node in nodes),
        addresses=tuple(node.address for node in nodes),
        interface=_interface(case) if len(nodes) > 1 else None,
    )


def _interface(case: Case) -> str | None:
    try:
        return case.snapshot.collective.interface
    except NotMeasured:
        return None
