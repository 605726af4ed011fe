"""Which deployments of a model are there on these GPUs, and why is another one impossible?

Inside a node every TP × PP that divides its GPUs; over nodes pipelines of whole nodes, and tensor parallelism over all
of their GPUs. Routed experts can be shared: by replicas of the attention (DP), whole ones a rank (EP) or divided.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from diag.facts.plan import Parameters
from diag.planner import divided_tokens
from diag.planner.deployment import Deployment
from diag.planner.model import shards, state
from diag.planner.model.architecture import Architecture, StateCache
from diag.planner.rules import EngineRules

MOST_NODES = 16
"""Of one deployment: deeper pipelines are not considered."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """``nodes`` with ``per_node`` GPUs each."""

    nodes: int
    per_node: int

    @property
    def gpus(self) -> int:
        return self.nodes * self.per_node

    def nodes_of(self, gpus: int) -> int:
        return -(-gpus // self.per_node)


def candidates(
    architecture: Architecture, rules: EngineRules, cluster: Cluster, pinned: Parameters
) -> tuple[Deployment, ...]:
    """Small ones first. ``pinned`` leaves those that agree with it; where none does, the pinned one itself."""
    every = dict.fromkeys((*_inside(cluster, architecture, rules), *_over_nodes(cluster, architecture, rules)))
    agreeing = tuple(one for one in every if _agrees(one, pinned, architecture, cluster))
    found = agreeing or tuple(_exactly(pinned, tp, cluster) for tp in _widths(architecture, pinned, cluster))
    ranks = pinned.decode_context_parallel_size or 1
    return tuple(msgspec.structs.replace(one, dcp=ranks) for one in found) if ranks > 1 else found


def why_impossible(
    deployment: Deployment, architecture: Architecture, rules: EngineRules, cluster: Cluster
) -> str | None:
    """None: it divides. The first rule that it breaks, with its numbers."""
    return _no_place(deployment, cluster) or _not_with(deployment, architecture, rules)


def _no_place(deployment: Deployment, cluster: Cluster) -> str | None:
    if deployment.gpus > cluster.gpus:
        return f"{deployment.told} needs {deployment.gpus} ranks: {_counted(cluster.gpus)}"
    if deployment.nodes > 1 and deployment.gpus % cluster.per_node:
        return f"{deployment.told}: {deployment.gpus} ranks do not fill nodes of {cluster.per_node} GPUs"
    return None


def _counted(gpus: int) -> str:
    return f"there are {gpus} GPUs" if gpus > 1 else "there is 1 GPU"


def _not_with(deployment: Deployment, architecture: Architecture, rules: EngineRules) -> str | None:
    if deployment.pp > 1 and not rules.pipelines:
        return f"{rules.engine} {rules.version} divides no layers over a pipeline"
    if deployment.nodes > 1 and rules.one_node:
        return f"{rules.engine} runs a model on one node"
    if deployment.dp > 1 and not architecture.experts:
        return f"{deployment.dp} replicas of {deployment.tp * deployment.pp} GPUs in one launch do not fit on a node"
    if deployment.ep and not architecture.experts:
        return "expert parallelism: this model has no routed experts"
    beside = _unshared(deployment, architecture, rules) or divided_tokens.why_not(deployment, architecture, rules)
    if beside is not None:
        return beside
    return (
        _layers_alone(deployment, architecture, rules)
        if rules.by_layers
        else _undivided(deployment, architecture, rules)
    )


def _layers_alone(deployment: Deployment, architecture: Architecture, rules: EngineRules) -> str | None:
    if deployment.tp > 1:
        return f"{rules.engine} gives whole layers to GPUs, it does not divide them over {deployment.tp}"
    layers = len(architecture.layers)
    return None if layers >= deployment.pp else f"{layers} layers on {deployment.pp} GPUs"


def parameters(deployment: Deployment) -> Parameters:
    return Parameters(
        tensor_parallel_size=deployment.tp,
        pipeline_parallel_size=deployment.pp,
        data_parallel_size=deployment.dp,
        expert_parallel=deployment.ep,
        decode_context_parallel_size=deployment.dcp if deployment.dcp > 1 else None,
    )


def _undivided(deployment: Deployment, architecture: Architecture, rules: EngineRules) -> str | None:
    why = shards.why_not(
        architecture,
        tp=deployment.tp,
        pp=deployment.pp,
        ep=deployment.expert_parallel_size,
        expert_tp=deployment.expert_tp,
        refines=rules.refines_blocks,
    )
    states = {cache for layer in architecture.layers for cache in layer.caches if isinstance(cache, StateCache)}
    return why or next((no for cache in states if (no := state.why_not(cache, tp=deployment.tp))), None)


def _inside(cluster: Cluster, architecture: Architecture, rules: EngineRules) -> Iterator[Deployment]:
    for gpus in _sizes(cluster.per_node):
        if rules.by_layers:
            yield Deployment(tp=1, pp=gpus)
            continue
        for pp in divisors(gpus):
            yield Deployment(tp=gpus // pp, pp=pp)
        yield from _sharing_experts(gpus, 1, architecture, rules)


def _sizes(per_node: int) -> list[int]:
    """GPUs of a replica inside a node: what leaves none idle, and powers of two, which divide most models."""
    powers = {1 << bits for bits in range(per_node.bit_length())}
    return sorted({*divisors(per_node), *powers})


def _over_nodes(cluster: Cluster, architecture: Architecture, rules: EngineRules) -> Iterator[Deployment]:
    if rules.one_node:
        return
    for nodes in range(2, min(cluster.nodes, MOST_NODES) + 1):
        for pp in divisors(cluster.per_node):
            yield Deployment(tp=cluster.per_node // pp, pp=pp * nodes, nodes=nodes)
        yield Deployment(tp=cluster.per_node * nodes, nodes=nodes)
        yield from _sharing_experts(cluster.per_node * nodes, nodes, architecture, rules)


def _sharing_experts(gpus: int, nodes: int, architecture: Architecture, rules: EngineRules) -> Iterator[Deployment]:
    if not architecture.experts or not rules.shares_experts:
        return
    for dp in divisors(gpus):
        for ep in (False, True):
            found = Deployment(tp=gpus // dp, dp=dp, ep=ep, nodes=nodes)
            if gpus > 1 and (dp > 1 or ep) and _unshared(found, architecture, rules) is None:
                yield found


def _unshared(deployment: Deployment, architecture: Architecture, rules: EngineRules) -> str | None:
    """Why experts are not shared that way: none in this version, or not of this model."""
    of = f"{rules.engine} {rules.version} has no"
    if deployment.ep and not rules.gives_whole_experts(architecture.name):
        return f"{of} expert parallelism for {architecture.name}"
    if deployment.dp > 1 and architecture.experts and not rules.replicates_attention(architecture.name):
        return f"{of} data parallelism that shares the experts of {architecture.name}"
    return None


def _agrees(deployment: Deployment, pinned: Parameters, architecture: Architecture, cluster: Cluster) -> bool:
    wanted = (pinned.tensor_parallel_size, pinned.pipeline_parallel_size, pinned.expert_parallel)
    found = (deployment.tp, deployment.pp, deployment.ep)
    same = all(want is None or want == have for want, have in zip(wanted, found, strict=True))
    dp = pinned.data_parallel_size
    return same and (dp is None or deployment.dp == dp or _launched(deployment, dp, architecture, cluster))


def _launched(deployment: Deployment, replicas: int, architecture: Architecture, cluster: Cluster) -> bool:
    """Replicas of a dense model are launches of their own: as many as a node has GPUs for."""
    dense_on_a_node = not architecture.experts and deployment.nodes == 1
    return dense_on_a_node and deployment.gpus * replicas <= cluster.per_node


def _widths(architecture: Architecture, pinned: Parameters, cluster: Cluster) -> Iterable[int]:
    """Of tensor parallelism, where the rest is settled in a way that is not tried by itself."""
    if pinned.tensor_parallel_size is not None:
        return (pinned.tensor_parallel_size,)
    return divisors(cluster.per_node) if pinned.expert_parallel and architecture.experts else (1,)


def _exactly(pinned: Parameters, tp: int, cluster: Cluster) -> Deployment:
    one = Deployment(
        tp=tp,
        pp=pinned.pipeline_parallel_size or 1,
        dp=pinned.data_parallel_size or 1,
        ep=bool(pinned.expert_parallel),
    )
    return msgspec.structs.replace(one, nodes=cluster.nodes_of(one.gpus))


def divisors(number: int) -> Iterable[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]
