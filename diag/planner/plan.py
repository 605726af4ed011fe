"""Snapshot + model + engine rules -> the plan without its recipe; what is not known becomes the verdict UNKNOWN."""

from __future__ import annotations

from diag.facts.record import NotMeasured
from diag.facts.snapshot import Snapshot
from diag.planner.accelerators import accelerators, nodes_without_accelerator, unreadable
from diag.planner.backends import named
from diag.planner.cpu import plan_cpu
from diag.planner.gpu import plan_gpus
from diag.planner.model.families.config import Config
from diag.planner.model.families.lengths import longest_context
from diag.planner.model.models import Model, find_model
from diag.planner.planned import Planned, refused, unknown
from diag.planner.rules import EngineRules
from diag.planner.unknown import NotKnown
from diag.planner.wanted import Wanted

STABLE = Wanted()


def plan(snapshot: Snapshot, model: str | None, rules: EngineRules, wanted: Wanted = STABLE) -> Planned:
    """``model`` as ``find_model`` takes it; raises DiagError only where it, or the backend, names nothing."""
    try:
        return _plan(snapshot, model, rules, wanted)
    except NotKnown as why:
        return unknown(why, rules, model or snapshot.model_path or "")
    except NotMeasured as why:
        return unknown(NotKnown(str(why)), rules, model or snapshot.model_path or "")


def _plan(snapshot: Snapshot, text: str | None, rules: EngineRules, wanted: Wanted) -> Planned:
    model = find_model(text, snapshot)
    if wanted.pinned.backend is not None:
        named(wanted.pinned.backend, rules)
    found = accelerators(snapshot)
    if found is not None:
        try:
            return plan_gpus(snapshot, found, model, rules, wanted)
        except NotKnown:
            if (too_long := wanted.too_long(_longest(model))) is None:
                raise
            return refused(*too_long, rules, model.name)
    cpu_nodes = nodes_without_accelerator(snapshot)
    if (why := unreadable(snapshot)) is not None or not cpu_nodes:
        raise NotKnown(f"accelerators: {why}", _do(snapshot))
    if wanted.pinned.speculative_method or (wanted.pinned.decode_context_parallel_size or 1) > 1:
        raise NotKnown("guessed tokens and divided ones on CPUs", "leave them out of --set")
    return plan_cpu(cpu_nodes, model, rules, wanted)


def _do(snapshot: Snapshot) -> str:
    if any(node.reach.outcome == "answered" for node in snapshot.nodes):
        return "make them readable where diag runs on the node, then measure again"
    return "make the nodes reachable, then measure again"


def _longest(model: Model) -> int | None:
    """Of a model that the planner does not understand: engines look at the length first. None: it does not say."""
    try:
        return longest_context(Config(model.config))
    except NotKnown:
        return None
