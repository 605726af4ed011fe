"""How do the parameters of a plan become flags? Each engine file lists its own spelling; here they are put in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from diag.engines.eras import Version, numbers
from diag.facts.plan import Recipe
from diag.planner.network.variables import Variable
from diag.planner.planned import Planned

ALWAYS: Version = (0, 0, 0)
NEVER: Version = (1000, 0, 0)
FIRST_PORT = 29500
"""Where the first node listens for the others, unless the engine has a port of its own."""


class Flag(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter's flag in versions from ``since`` until ``before``; ``spell`` gives its words from the value."""

    parameter: str
    name: str
    spell: Callable[[Any], tuple[str, ...]] = lambda value: (str(value),)
    since: Version = ALWAYS
    before: Version = NEVER


def words(**spellings: str) -> Callable[[Any], tuple[str, ...]]:
    """Some values have another name here: ``words(fp8="fp8_e4m3")``; the others keep theirs."""
    return lambda value: (spellings.get(str(value), str(value)),)


def switch(name: str, parameter: str, *, since: Version = ALWAYS, before: Version = NEVER) -> Flag:
    """A flag without a value. What is False needs none."""
    return Flag(parameter=parameter, name=name, spell=lambda _: (), since=since, before=before)


def fraction(value: float) -> tuple[str, ...]:
    """At least two digits, as many as it has up to four."""
    text = f"{value:.4f}".rstrip("0")
    whole, _, digits = text.partition(".")
    return (f"{whole}.{digits:0<2}",)


def spelled(flags: Sequence[Flag], planned: Planned, version: str) -> tuple[list[str], dict[str, str]]:
    """The words, and for each flag why it is there: only parameters that something asks for, as ``because`` says."""
    asked = numbers(version) or NEVER
    argv: list[str] = []
    why: dict[str, str] = {}
    for flag in flags:
        value = getattr(planned.plan.parameters, flag.parameter, None)
        if flag.parameter not in planned.because or value is None or value is False:
            continue
        if flag.since <= asked < flag.before:
            argv += [flag.name, *flag.spell(value)]
            why[flag.name] = planned.because[flag.parameter]
    return argv, why


def setting(flags: Sequence[Flag], parameter: str, value: Any, version: str) -> str:
    """``--max-num-seqs 256``; the parameter's own name where the version has no flag for it."""
    asked = numbers(version) or NEVER
    flag = next((one for one in flags if one.parameter == parameter and one.since <= asked < one.before), None)
    return f"{parameter}={value}" if flag is None else " ".join((flag.name, *flag.spell(value)))


def unspelled(planned: Planned, spelled: Iterable[str], engine: str, version: str) -> dict[str, str]:
    """What is asked for and none of the ``spelled`` parameters: ``recipe.NAME`` -> why it is in no command."""
    told = {name: getattr(planned.plan.parameters, name, None) for name in planned.because if name not in spelled}
    return {
        f"recipe.{name}": f"{engine} {version} has no flag for {name}"
        for name, value in told.items()
        if value is True or value not in {None, False, 1}
    }


def in_version(flags: Sequence[Flag], version: str) -> set[str]:
    """Parameters that have a flag there."""
    asked = numbers(version) or NEVER
    return {flag.parameter for flag in flags if flag.since <= asked < flag.before}


def copies(planned: Planned) -> int:
    """Whole copies of the model that are asked for."""
    asked = "data_parallel_size" in planned.because and planned.attention_replicas == 1
    return (planned.plan.parameters.data_parallel_size or 1) if asked else 1


def one_server_each(planned: Planned, port: str) -> dict[str, str]:
    """Of an engine whose server holds one copy: what to do for several."""
    if copies(planned) == 1:
        return {}
    how = f"each with GPUs of its own (CUDA_VISIBLE_DEVICES) and a port of its own ({port})"
    return {"recipe.data_parallel_size": f"{copies(planned)} such servers on a node, {how}"}


def with_parameters(planned: Planned, because: dict[str, str] | None = None, **changed: Any) -> Planned:
    """As an engine counts them, where that is not how the plan does."""
    parameters = msgspec.structs.replace(planned.plan.parameters, **changed)
    plan = msgspec.structs.replace(planned.plan, parameters=parameters)
    return msgspec.structs.replace(planned, plan=plan, because=planned.because | (because or {}))


def other_nodes(planned: Planned, rank_flag: str, *, headless: str = "") -> str:
    """What differs in the command of each further node."""
    assert planned.place is not None
    nodes = planned.place.nodes
    others = ", ".join(f"{node}: {rank_flag} {rank}" for rank, node in enumerate(nodes[1:], 1))
    return f"for {nodes[0]}; the same command on {others}{headless}"


def only_visible(planned: Planned, recipe: Recipe) -> tuple[Recipe, dict[str, str]]:
    """With the GPUs that its ranks may see, on the nodes where not all of them are to be used; and why."""
    env = dict(recipe.env)
    why: dict[str, str] = {}
    differ = {node: dict(values) for node, values in recipe.env_of_nodes.items()}
    if planned.place is not None and recipe.argv:
        _differing(planned.place.visible, planned.place.nodes[0], env, why, differ)
    return msgspec.structs.replace(recipe, env=env, env_of_nodes=differ), why


def network(planned: Planned, env: dict[str, str], why: dict[str, str]) -> dict[str, dict[str, str]]:
    """What the plan asks for between nodes: the first node's values into ``env``; those that differ, by node."""
    assert planned.place is not None
    differ: dict[str, dict[str, str]] = {}
    _differing(planned.place.network, planned.place.nodes[0], env, why, differ)
    return differ


def _differing(
    variables: Iterable[Variable],
    first: str,
    env: dict[str, str],
    why: dict[str, str],
    differ: dict[str, dict[str, str]],
) -> None:
    for variable in variables:
        own = variable.of(first)
        if own is not None:
            env[variable.name] = own
        why[variable.name] = variable.why
        for node, value in variable.values:
            if value != own:
                differ.setdefault(node, {})[variable.name] = value


RANKS_THROUGH_THE_HOST = ("nvidia", "amd")
"""Vendors whose library knows NCCL_P2P_DISABLE."""


def without_p2p(planned: Planned, argv: list[str], env: dict[str, str], why: dict[str, str], switch: str = "") -> None:
    """Where GPUs did not deliver what was sent. ``switch``: turns off the engine's own all-reduce, too."""
    place = planned.place
    if place is None or not place.wrong_pairs:
        return
    if place.vendor in RANKS_THROUGH_THE_HOST:
        env["NCCL_P2P_DISABLE"] = "1"
        why["NCCL_P2P_DISABLE"] = place.wrong_pairs
    else:
        why["recipe.p2p"] = f"{place.wrong_pairs}; how the library of {place.vendor} goes around that is not known"
    if switch:
        argv.append(switch)
        why[switch] = f"{place.wrong_pairs}; the engine's own all-reduce does not heed NCCL_P2P_DISABLE"
