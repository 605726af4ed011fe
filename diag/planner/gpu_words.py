"""How does a GPU plan explain itself: its reason, its lever, each figure's source, why a parameter needs a flag?"""

from __future__ import annotations

from diag.facts.plan import Parameters
from diag.hardware import DECLARED
from diag.planner.case import Case
from diag.planner.links import between_nodes
from diag.planner.trial import Trial
from diag.units import size

HELD = "memory held by others"
SINGULAR = ("activation", HELD)
PAPERS = {
    "kv_cache_bytes": "2 · layers · max(1, kv heads / TP) · head_dim · dtype bytes a token; what the other terms leave",
    "speed": "not predicted",
}


def reason(case: Case, best: Trial) -> str:
    """One line: what fits where, or what is too large."""
    if best.verdict == "NO":
        return f"does not fit: {_too_large(case, best)}"
    where = f"over {best.layout.nodes} nodes" if best.layout.nodes > 1 else "inside a node"
    replicas, nodes = case.replicas(best.layout), len(case.found.nodes)
    count = f"{replicas} replica{'s' if replicas > 1 else ''} on {nodes} node{'s' if nodes > 1 else ''}"
    line = f"{best.layout.told} {where}; {count}"
    if case.snapshot.run_id == DECLARED:
        line += " (declared, nothing was measured)"
    if best.verdict == "FITS":
        return f"{line}, even if every overhead is at its high estimate"
    return f"{line}, but only if overheads stay below their high estimates: {_too_large(case, best)}"


def _terms(case: Case, best: Trial) -> dict[str, int]:
    memory = best.memory
    return {
        "weights": memory.weights_bytes.high or 0,
        "activation": memory.activation_bytes.high or 0,
        "CUDA graphs": memory.cuda_graph_bytes.high or 0,
        "libraries beside torch": memory.non_torch_bytes.high or 0,
        HELD: case.budget.held_bytes,
    }


def dominating(case: Case, best: Trial) -> str:
    terms = _terms(case, best)
    return max(terms, key=lambda term: terms[term])


def _too_large(case: Case, best: Trial) -> str:
    term = dominating(case, best)
    taken = f"{term} {'takes' if term in SINGULAR else 'take'} {size(_terms(case, best)[term])}"
    tight = case.found.tightest
    if term == HELD:
        return f"{taken}: {tight.told}"
    return f"{taken} of the {size(case.budget.bytes)} budget a GPU ({best.layout.told}, {tight.told})"


def lever(case: Case, best: Trial) -> str | None:
    """What to change where it does not fit for sure."""
    if best.verdict == "FITS":
        return None
    tight, term = case.found.tightest, dominating(case, best)
    if term == HELD or tight.holders:
        return f"free {tight.where}: {tight.holders or 'see who holds its memory'}"
    if term == "weights":
        return "more GPUs, GPUs with more memory, or a quantized checkpoint"
    if term == "activation":
        return f"fewer sequences at once than {best.batch.max_num_seqs}, or fewer batched tokens"
    return "--enforce-eager saves the CUDA graphs, at the price of slower decoding"


def sources(case: Case, best: Trial) -> dict[str, str]:
    rules = case.rules
    several = best.layout.gpus > 1
    lines = {
        "engine.version": rules.note or f"rules of {rules.engine} {rules.version}",
        "model": case.model.told,
        "weights_bytes": f"{case.files.source}; divided as {best.layout.told} divides its layers",
        "activation_bytes": f"the larger of a sampling step ({rules.sampler.source}) and a forward pass (formula)",
        "cuda_graph_bytes": rules.graphs.source,
        "non_torch_bytes": (rules.non_torch_several if several else rules.non_torch_alone).source,
        "gpu_memory_utilization": case.budget.source,
        "max_num_seqs": _batch_source(case, best),
        "tensor_parallel_size": case.found.smallest.name,
    }
    if case.snapshot.run_id == DECLARED:
        lines["hardware"] = f"{case.snapshot.level_why} ({case.found.nodes[0].reach.summary})"
    if len(case.found.nodes) > best.layout.nodes:
        lines["recipe"] = f"once on each {'node' if best.layout.nodes == 1 else f'{best.layout.nodes} nodes'}"
    if len(case.found.nodes) > 1:
        lines["nodes"] = between_nodes(case.snapshot)
    if case.found.left_out:
        lines["left_out"] = "; ".join(case.found.left_out)
    return PAPERS | lines


def _batch_source(case: Case, best: Trial) -> str:
    if best.batch.max_num_seqs == case.own.max_num_seqs:
        return f"what {case.rules.engine} takes by itself on {size(case.found.smallest.total_bytes)}"
    return f"{case.rules.engine} by itself takes {case.own.max_num_seqs}: their activation leaves less KV cache"


def because(case: Case, best: Trial, parameters: Parameters) -> dict[str, str]:
    """Only where the engine by itself would do something else."""
    lines: dict[str, str] = {}
    weights = size(best.memory.weights_bytes.mid or 0)
    if best.layout.tp > 1:
        lines["tensor_parallel_size"] = f"weights are then {weights} a GPU, of {size(case.budget.bytes)}"
    if best.layout.pp > 1:
        lines["pipeline_parallel_size"] = f"weights are then {weights} a GPU; {between_nodes(case.snapshot)}"
    if (parameters.data_parallel_size or 1) > 1:
        lines["data_parallel_size"] = f"{case.found.per_node} GPUs a node, {best.layout.gpus} a replica"
    if case.budget.lowered:
        lines["gpu_memory_utilization"] = case.found.tightest.told
    if best.max_model_len < case.shapes.max_len:
        lines["max_model_len"] = (
            f"the KV cache holds no longer request; the model itself allows {case.shapes.max_len:,}"
        )
    if best.batch.max_num_seqs != case.own.max_num_seqs:
        lines["max_num_seqs"] = _batch_source(case, best)
    if best.batch.max_num_batched_tokens != case.own.max_num_batched_tokens:
        lines["max_num_batched_tokens"] = f"smaller activation than with {case.own.max_num_batched_tokens}"
    return lines
