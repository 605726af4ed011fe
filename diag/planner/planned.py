"""What does the planner hand to an engine: the plan, where it runs, and which parameters need a flag and why?"""

from __future__ import annotations

import msgspec

from diag.facts.plan import EngineName, Plan
from diag.planner.network.variables import Variable
from diag.planner.rules import EngineRules
from diag.planner.unknown import NotKnown


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where one launch command runs. ``nodes`` are those of one replica, ``addresses`` theirs."""

    nodes: tuple[str, ...]
    addresses: tuple[str, ...]
    network: tuple[Variable, ...] = ()
    """What the communication library must be told of the network between the nodes."""
    address_why: str = " that diag connected to"
    vendor: str = "nvidia"
    """Of its GPUs: some engines take their device as a flag."""
    visible: tuple[Variable, ...] = ()
    """Which GPUs its ranks may see, where some of a node's were excluded."""
    wrong_pairs: str = ""
    """Which GPUs did not deliver to each other what was sent; empty: none is known that did not, or there is one."""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """``because``: parameter of the plan -> the measurement that asks for it; ``place`` None: nothing to launch."""

    plan: Plan
    model: str
    place: Place | None = None
    because: dict[str, str] = {}
    attention_replicas: int = 1
    """How many replicas of the attention share one set of experts; 1: ``data_parallel_size`` counts whole copies."""
    cpu_kv_gib: int | None = None
    """Whole GiB of KV cache on the CPU backend; None: GPUs."""


def unknown(why: NotKnown, rules: EngineRules, model: str) -> Planned:
    engine = EngineName(name=rules.engine, version=rules.version)
    sources = {"engine.version": rules.note or f"rules of {rules.engine} {rules.version}"}
    plan = Plan(verdict="UNKNOWN", reason=f"not known: {why}", lever=why.lever, engine=engine, sources=sources)
    return Planned(plan=plan, model=model)


def refused(why: str, lever: str, rules: EngineRules, model: str) -> Planned:
    """Whatever memory there is."""
    engine = EngineName(name=rules.engine, version=rules.version)
    sources = {"engine.version": rules.note or f"rules of {rules.engine} {rules.version}"}
    plan = Plan(verdict="NO", reason=f"cannot be: {why}", lever=lever, engine=engine, sources=sources)
    return Planned(plan=plan, model=model)
