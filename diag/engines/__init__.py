"""Which engines can be planned for, and what is the launch plan for one of them?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from diag.engines import lmdeploy, ollama, sglang, vllm
from diag.engines.versions import installed
from diag.errors import DiagError
from diag.facts.plan import EngineName, Plan, Recipe
from diag.facts.snapshot import Snapshot
from diag.planner.plan import STABLE, plan
from diag.planner.planned import Planned
from diag.planner.rules import EngineRules
from diag.planner.unknown import NotKnown
from diag.planner.wanted import Wanted


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine file provides; ``recipe`` gives the command and why each flag is in it."""

    rules: Callable[[str | None], EngineRules]
    recipe: Callable[[Planned, EngineRules], tuple[Recipe, dict[str, str]]]


ENGINES: Mapping[str, Engine] = {
    "vllm": Engine(rules=vllm.rules, recipe=vllm.recipe),
    "sglang": Engine(rules=sglang.rules, recipe=sglang.recipe),
    "lmdeploy": Engine(rules=lmdeploy.rules, recipe=lmdeploy.recipe),
    "ollama": Engine(rules=ollama.rules, recipe=ollama.recipe),
}


def plan_launch(
    snapshot: Snapshot,
    model: str | None,
    engine: str = "vllm",
    version: str | None = None,
    wanted: Wanted = STABLE,
) -> Plan:
    """The plan, with its recipe, for ``model`` (None: the Snapshot's, else the bundled one) on what was measured.

    ``version`` None: what is installed on the nodes, else the newest known. Raises DiagError where ``engine`` or
    ``model`` names nothing.
    """
    if engine not in ENGINES:
        raise DiagError("--engine", f"{engine!r} is not known", do=f"known: {', '.join(ENGINES)}")
    chosen, differs = (version, None) if version else installed(snapshot, engine)
    try:
        rules = ENGINES[engine].rules(chosen)
    except NotKnown as why:
        name = EngineName(name=engine, version=chosen)
        return Plan(verdict="UNKNOWN", reason=f"not known: {why}", lever=why.lever, engine=name)
    if differs:
        rules = msgspec.structs.replace(rules, note=differs)
    planned = plan(snapshot, model, rules, wanted)
    recipe, why_flags = ENGINES[engine].recipe(planned, rules)
    beside = tuple(line for name, line in why_flags.items() if name.startswith("recipe."))
    return msgspec.structs.replace(
        planned.plan,
        recipe=recipe,
        notes=(*planned.plan.notes, *beside),
        sources=planned.plan.sources | why_flags,
    )
