"""Which engines can be planned for, and what is the launch plan for one of them?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec

from diag.engines import lmdeploy, ollama, sglang, vllm
from diag.engines.flags import only_visible, setting
from diag.engines.versions import installed
from diag.errors import DiagError
from diag.facts.plan import EngineName, Plan, Recipe
from diag.facts.snapshot import Snapshot
from diag.planner.plan import STABLE, plan
from diag.planner.planned import Planned
from diag.planner.rules import EngineRules
from diag.planner.unknown import NotKnown
from diag.planner.wanted import Wanted

_SETTING = re.compile(r"\{(\w+)=([\w.]+)\}")


class Engine(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine file provides; ``recipe`` gives the command and why each flag is in it."""

    rules: Callable[[str | None], EngineRules]
    recipe: Callable[[Planned, EngineRules], tuple[Recipe, dict[str, str]]]
    setting: Callable[[str, Any, str], str] = partial(setting, ())
    """A parameter, its value and the version -> what people type for it."""


ENGINES: Mapping[str, Engine] = {
    "vllm": Engine(rules=vllm.rules, recipe=vllm.recipe, setting=partial(setting, vllm.FLAGS)),
    "sglang": Engine(rules=sglang.rules, recipe=sglang.recipe, setting=partial(setting, sglang.FLAGS)),
    "lmdeploy": Engine(rules=lmdeploy.rules, recipe=lmdeploy.recipe, setting=partial(setting, lmdeploy.FLAGS)),
    "ollama": Engine(rules=ollama.rules, recipe=ollama.recipe, setting=ollama.setting),
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
        rules = msgspec.structs.replace(rules, note=f"{differs}; {rules.note}" if rules.newer else differs)
    planned = plan(snapshot, model, rules, wanted)
    recipe, why_flags = ENGINES[engine].recipe(planned, rules)
    recipe, why_visible = only_visible(planned, recipe)
    beside = tuple(line for name, line in why_flags.items() if name.startswith("recipe."))
    newer = (rules.note,) if rules.newer and rules.note else ()
    return msgspec.structs.replace(
        planned.plan,
        recipe=recipe,
        lever=None if planned.plan.lever is None else _in_flags(planned.plan.lever, engine, rules.version),
        notes=(*newer, *(_in_flags(line, engine, rules.version) for line in planned.plan.notes), *beside),
        sources=planned.plan.sources | why_flags | why_visible,
    )


def _in_flags(text: str, engine: str, version: str) -> str:
    """``{max_num_seqs=256}`` as the engine spells it."""
    return _SETTING.sub(lambda found: ENGINES[engine].setting(found[1], _value(found[2]), version), text)


def _value(text: str) -> int | float | bool | str:
    if text == "true":
        return True
    return int(text) if text.isdigit() else float(text) if text.replace(".", "", 1).isdigit() else text
