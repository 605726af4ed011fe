"""How does a GPU plan explain itself: its reason, its notes, each figure's source, why a parameter needs a flag?"""

from __future__ import annotations

import msgspec

from diag.facts.plan import Parameters
from diag.hardware import DECLARED
from diag.planner.candidates import why_impossible
from diag.planner.case import Case
from diag.planner.domains import INSIDE
from diag.planner.memory.weighed import rotary_bytes
from diag.planner.model.architecture import LatentCache
from diag.planner.model.requantized import ON_LOADING
from diag.planner.network.groups import grouped
from diag.planner.rules import EngineRules
from diag.planner.search import MOST_WEIGHTS, search
from diag.planner.trial import RANK, Trial, attempt
from diag.planner.wanted import Wanted
from diag.units import gbit_per_s, size

NAMED = 4
"""Groups in a line."""
LEAST_WEIGHTS = 0.60
"""With less, fewer GPUs might do; with more than ``MOST_WEIGHTS`` little KV cache is left."""
PINNED = "as you set it"
PAPERS = {"kv_cache_bytes": "what the other terms leave, in whole blocks of this version", "speed": "not predicted"}


def reason(case: Case, best: Trial) -> str:
    """One line: what fits where, or what is too large."""
    tight, weights = case.found.tightest, best.weights_bytes
    held = case.device.held_bytes
    others = f"others hold {size(held)}, more than the weights take: " if held > weights else ""
    if best.verdict == "NO":
        return f"does not fit: {others}{best.outcome.why} ({best.deployment.told}; {tight.told})"
    line = f"{best.deployment.told} {_where(case, best)}; {_replicas(case, best)}"
    if case.snapshot.run_id == DECLARED:
        line += " (declared, nothing was measured)"
    if best.verdict == "FITS":
        return f"{line}, even if every overhead is at its high estimate"
    if best.outcome.unlikely:
        return f"{line}, but {best.outcome.why}"
    return f"{line}, but only if overheads stay below their high estimates: {best.outcome.why}"


def _where(case: Case, best: Trial) -> str:
    nodes = best.deployment.nodes
    if nodes > 1:
        return f"over {nodes} nodes"
    crossing = case.domains.tier(best.deployment) > INSIDE
    return f"inside a node, across islands of {case.domains.island}" if crossing else "inside a node"


def _replicas(case: Case, best: Trial) -> str:
    nodes = case.cluster.nodes
    return f"{best.replicas} replica{'s' if best.replicas > 1 else ''} on {nodes} node{'s' if nodes > 1 else ''}"


def notes(case: Case, best: Trial) -> tuple[str, ...]:
    lines = [_rule_of_thumb(case, best), case.domains.cost(best.deployment, case.architecture)]
    lines += [_unpinned(case, best), _repeated(case, best), _concurrency(case, best)]
    lines += [_of_another_format(case, best), _of_several_kinds(case), _idle(case, best), _offloaded(case, best)]
    lines += [_drafted(case), _grouped(case, best)]
    lines += [f"left out: {line}" for line in case.found.left_out]
    if case.draft is None or case.draft.kind != "own layers":
        lines += [f"not loaded: {one}" for one in case.architecture.left_out]
    return tuple(line for line in lines if line)


def _of_another_format(case: Case, best: Trial) -> str:
    name = case.wanted.pinned.quantization
    if name is None:
        return ""
    if name not in ON_LOADING:
        return f"{name} needs a checkpoint of its own: put its path in place of {case.model.name}"
    return f"weights are quantized while they load: until then {size(case.loading_bytes(best.deployment))} of a GPU"


def _offloaded(case: Case, best: Trial) -> str:
    if not case.offloaded_bytes:
        return ""
    least, most = case.stays_in_ram(best.deployment)
    part = size(most) if least == most else f"{size(least)} to {size(most)}"
    why = ", all of its layers," if most < case.offloaded_bytes else ""
    return f"{part} of each GPU's weights{why} stay in RAM and cross PCIe at every step; RAM was not checked"


def _grouped(case: Case, best: Trial) -> str:
    """Which nodes form a replica where links are slow, and whether one of those is still in use."""
    rates = case.domains.rates
    if rates is None or best.deployment.nodes == 1 or not rates.slow:
        return ""
    found, plain = case.domains.groups(best.deployment), grouped(case.domains.nodes, best.deployment.nodes, None)
    other = [", ".join(group) for group in found.groups if group not in plain.groups] or ["nodes as they are named"]
    told = " and ".join(other[:NAMED]) + (f" and {len(other) - NAMED} more" if other[NAMED:] else "")
    idle = f"; {', '.join(found.idle)} idle" if found.idle else ""
    slowest = rates.of(rates.pairs)
    used = rates.slow & set(found.pairs(neighbours=best.deployment.tp * best.deployment.dp <= case.domains.per_node))
    around = f"; no grouping goes around {len(used)} slow links" if used else ""
    why = rates.told(slowest[0]) if slowest else ""
    return f"replicas over {told}{idle}: {why}, usual {gbit_per_s(rates.usual)}{around}"


def _drafted(case: Case) -> str:
    draft = case.draft
    if draft is None:
        return ""
    several = "s" if draft.tokens > 1 else ""
    return f"{draft.tokens} token{several} a step guessed by {draft.told}: whether it is faster is not predicted"


def _idle(case: Case, best: Trial) -> str:
    if best.deployment.nodes > 1:
        idle = case.cluster.nodes % best.deployment.nodes
        return f"{idle} of {case.cluster.nodes} nodes stay idle" if idle else ""
    idle = case.cluster.per_node - case.launched(best.deployment) * best.deployment.gpus // best.deployment.dp
    return f"{idle} of {case.cluster.per_node} GPUs of each node stay idle" if idle > 0 else ""


def _of_several_kinds(case: Case) -> str:
    """A command is the same on all nodes."""
    kinds = {device.name for device in case.found.devices}
    smallest = case.found.smallest.name
    return f"GPUs differ ({', '.join(sorted(kinds))}): planned for {smallest}, the smallest" if len(kinds) > 1 else ""


def _rule_of_thumb(case: Case, best: Trial) -> str:
    share = round(best.weights_bytes / case.device.total_bytes, 2)
    if best.verdict == "NO" and share >= 1:
        return f"weights are {share:.0%} of a GPU's memory"
    verdict = "inside" if LEAST_WEIGHTS <= share <= MOST_WEIGHTS else "below" if share < LEAST_WEIGHTS else "above"
    means = {"inside": "", "below": ": more KV cache than usual", "above": ": little is left for the KV cache"}[verdict]
    return f"weights are {share:.0%} of a GPU's memory, {verdict} the usual 60–80 %{means}"


def _repeated(case: Case, best: Trial) -> str:
    """What every rank holds again, and what half as many ranks and twice as many replicas would hold."""
    deployment, architecture = best.deployment, case.architecture
    if deployment.tp == 1 or deployment.dcp > 1 or case.rules.by_layers:
        return ""
    if any(isinstance(cache, LatentCache) for layer in architecture.layers for cache in layer.caches):
        return (
            f"each of the {deployment.tp} ranks holds the whole compressed KV cache (MLA): more ranks do not divide it"
        )
    heads = architecture.kv_heads
    if not heads or deployment.tp <= heads:
        return ""
    several = (
        f"{heads} KV heads on {deployment.tp} ranks: each" if heads > 1 else f"1 KV head on {deployment.tp} ranks: it"
    )
    line = f"{several} is held {deployment.tp // heads} times"
    return f"{line}{_with_fewer_ranks(case, best, heads)}"


def _with_fewer_ranks(case: Case, best: Trial, ranks: int) -> str:
    narrower = msgspec.structs.replace(best.deployment, tp=ranks)
    narrower = msgspec.structs.replace(narrower, nodes=case.cluster.nodes_of(narrower.gpus))
    if why_impossible(narrower, case.architecture, case.rules, case.cluster) is not None:
        return ""
    trial = attempt(case, msgspec.structs.replace(best.way, deployment=narrower))
    everywhere, now = trial.tokens * trial.replicas, best.tokens * best.replicas
    if trial.rank < max(RANK["RISKY"], best.rank) or everywhere <= now:
        return ""
    return f"; {trial.replicas} replicas of {narrower.told} hold {everywhere:,} tokens instead of {now:,}"


def _unpinned(case: Case, best: Trial) -> str:
    """What the plan would have chosen where the user pinned the ranks."""
    pinned = case.wanted.pinned
    if pinned.tensor_parallel_size is None and pinned.pipeline_parallel_size is None:
        return ""
    free = Wanted(goal=case.wanted.goal, context=best.way.max_model_len, concurrency=case.wanted.concurrency)
    other = next(iter(search(msgspec.structs.replace(case, wanted=free)).trials), None)
    if other is None or other.rank < RANK["RISKY"] or other.deployment == best.deployment:
        return ""
    holds = f"{other.tokens * other.replicas:,} tokens instead of {best.tokens * best.replicas:,}"
    return f"without --set: {other.deployment.told}, {_replicas(case, other)}, {holds}"


def _concurrency(case: Case, best: Trial) -> str:
    wanted = case.wanted.concurrency
    held = best.requests * best.replicas
    if wanted is None or best.verdict == "NO" or held >= wanted:
        return ""
    return f"holds {held:.1f} of {wanted} requests of {best.way.max_model_len:,} tokens at once; the others wait"


def sources(case: Case, best: Trial) -> dict[str, str]:
    rules = case.rules
    lines = {
        "engine.version": rules.note or f"rules of {rules.engine} {rules.version}",
        "goal": case.wanted.goal,
        "model": case.model.told,
        "weights_bytes": f"{case.files.source}; divided as {best.deployment.told} divides them{_beside(case)}",
        "gpu_memory_utilization": f"{best.share.source}; {_tightest(case)}",
        "max_num_seqs": _seqs_source(case, best),
        "tensor_parallel_size": case.found.smallest.name,
        **best.outcome.sources,
        **backend(rules),
    }
    if case.snapshot.run_id == DECLARED:
        lines["hardware"] = f"{case.snapshot.level_why} ({case.found.nodes[0].reach.summary})"
    if case.commands(best.deployment) > 1:
        nodes = best.deployment.nodes
        lines["recipe"] = f"once on each {'node' if nodes == 1 else f'{nodes} nodes'}"
    if len(case.found.nodes) > 1:
        lines["nodes"] = case.domains.way(best.deployment)[0]
        lines |= _groups(case, best)
    if case.found.left_out:
        lines["left_out"] = "; ".join(case.found.left_out)
    return PAPERS | lines


def _groups(case: Case, best: Trial) -> dict[str, str]:
    """All of them, where they are not simply those that follow each other."""
    found = case.domains.groups(best.deployment)
    if found == grouped(case.domains.nodes, best.deployment.nodes, None):
        return {}
    return {"groups": "; ".join(", ".join(group) for group in found.groups)}


def _beside(case: Case) -> str:
    """What counts among the weights and lies in no file."""
    tables = rotary_bytes(case.architecture, case.rules)
    return f"; on each GPU {size(tables)} more of tables of positions" if tables else ""


def backend(rules: EngineRules) -> dict[str, str]:
    """Which was planned, where the engine has several."""
    return {"backend": f"{rules.backend}: {rules.backend_why}"} if rules.backend_why else {}


def _tightest(case: Case) -> str:
    return f"{case.found.tightest.told}, tightest of {len(case.found.devices)}"


def _seqs_source(case: Case, best: Trial) -> str:
    own = case.own_batch(best.way.max_model_len).max_num_seqs
    if case.wanted.pinned.max_num_seqs or case.wanted.concurrency:
        return PINNED
    if best.batch.max_num_seqs == own:
        return f"what {case.rules.engine} takes by itself on {size(case.device.total_bytes)}"
    left = size(best.outcome.memory.activation_bytes.high or 0)
    return f"{case.wanted.goal}: activation then takes {left} at most; {case.rules.engine} by itself takes {own}"


def because(case: Case, best: Trial, parameters: Parameters, dtype_why: str | None) -> dict[str, str]:
    """Only where the engine by itself would do something else, or the user asked for it."""
    deployment, own = best.deployment, case.own_batch(best.way.max_model_len)
    weights = size(best.weights_bytes)
    lines: dict[str, str] = {}
    if deployment.tp > 1:
        lines["tensor_parallel_size"] = f"weights are then {weights} a GPU, of {size(case.device.total_bytes)}"
    if deployment.pp > 1:
        lines["pipeline_parallel_size"] = f"weights are then {weights} a GPU" + (
            f"; {case.domains.way(deployment)[0]}" if deployment.nodes > 1 else ""
        )
    if (parameters.data_parallel_size or 1) > 1:
        lines["data_parallel_size"] = (
            f"{deployment.dp} replicas of the attention share the experts"
            if deployment.dp > 1
            else f"{case.cluster.per_node} GPUs a node, {deployment.gpus} a replica"
        )
    if deployment.ep:
        lines["expert_parallel"] = (
            f"each rank gets whole experts: {case.architecture.experts} over {deployment.expert_parallel_size}"
        )
    if best.share.lowered:
        lines["gpu_memory_utilization"] = case.found.tightest.told
    if best.way.max_model_len < case.architecture.max_len:
        lines["max_model_len"] = _length_source(case)
    if best.batch.max_num_seqs != own.max_num_seqs:
        lines["max_num_seqs"] = _seqs_source(case, best)
    if best.batch.max_num_batched_tokens != own.max_num_batched_tokens:
        lines["max_num_batched_tokens"] = _tokens_source(case, best, own.max_num_batched_tokens)
    if dtype_why:
        lines["dtype"] = dtype_why
    return lines | _pinned(case.wanted.pinned) | ({"backend": case.rules.backend_why} if case.rules.backend_why else {})


def _tokens_source(case: Case, best: Trial, own: int) -> str:
    if best.batch.max_num_batched_tokens < own:
        return f"smaller activation than with {own}"
    return f"{case.rules.engine} takes no fewer than sequences at once, {best.batch.max_num_seqs}; by itself {own}"


def _pinned(pinned: Parameters) -> dict[str, str]:
    """A format that only another checkpoint has is no flag."""
    named = (name for name in pinned.__struct_fields__ if getattr(pinned, name) not in (None, False))
    return {name: PINNED for name in named if name != "quantization" or pinned.quantization in ON_LOADING}


def _length_source(case: Case) -> str:
    most = f"the model itself allows {case.architecture.max_len:,}"
    if case.wanted.fixed_context:
        return f"{PINNED}; {most}"
    if case.wanted.as_long_as_fits:
        return f"the KV cache holds no longer request for sure; {most}"
    return f"{case.wanted.goal}: a modest length to start with; {most}"
