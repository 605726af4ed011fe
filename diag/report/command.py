"""Which command starts it, so that it can be copied, and why is each flag there?"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from diag.facts.plan import Plan, Recipe
from diag.inventory.nodesets import fold
from diag.report.ink import Ink

LABEL, WIDEST_VALUE = 7, 24


def launch_lines(plan: Plan, ink: Ink) -> list[str]:
    """Where and how often it is run, the command, and beside each value that something asked for, what did."""
    where = plan.sources.get("recipe")
    lines = ink.field("run", where, indent=LABEL) if where else []
    if plan.recipe.argv:
        lines += [ink(line, "command") for line in command_lines(plan.recipe.argv, plan.recipe.env, ink.width)]
        lines += _elsewhere(plan.recipe, ink)
    return lines + _reasons(plan, ink)


def _elsewhere(recipe: Recipe, ink: Ink) -> list[str]:
    """What is another value on other nodes: ``on gpu[02-03]  NCCL_SOCKET_IFNAME==eth1``."""
    places: dict[str, list[str]] = {}
    for node, env in recipe.env_of_nodes.items():
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in env.items())
        places.setdefault(words, []).append(node)
    lines = []
    for words, nodes in places.items():
        lines += ink.field(f"on {fold(nodes)} ", words, indent=LABEL)
    return lines


def command_lines(argv: tuple[str, ...], env: Mapping[str, str], width: int) -> list[str]:
    """The command, its flags kept with their values, broken with backslashes so that it can be copied."""
    words = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    for word in argv:
        quoted = shlex.quote(word)
        if words and _is_flag(words[-1]) and not word.startswith("-"):
            words[-1] += f" {quoted}"
        else:
            words.append(quoted)
    lines = [""]
    for word in words:
        if lines[-1].strip() and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("    ")
        lines[-1] += word if not lines[-1].strip() else f" {word}"
    return lines


def _is_flag(word: str) -> bool:
    return word.startswith("--") and " " not in word and "=" not in word


def _reasons(plan: Plan, ink: Ink) -> list[str]:
    """A value and its source once, where several variables have both."""
    told = {**plan.recipe.env, **_values(plan.recipe.argv)}
    given = dict.fromkeys((value, plan.sources[name]) for name, value in told.items() if name in plan.sources)
    indent = min(WIDEST_VALUE, 2 + max((len(value) for value, _ in given), default=0) + 2)
    lines = []
    for value, source in given:
        wide = len(value) + 4 > indent
        lines += [ink(f"  {value}")] if wide else []
        lines += ink.field("" if wide else f"  {value}", source, indent=indent)
    return lines


def _values(argv: tuple[str, ...]) -> dict[str, str]:
    """Flag -> its value, or the flag itself where it has none."""
    values = {}
    for word, following in zip(argv, (*argv[1:], "--"), strict=False):
        if word.startswith("--"):
            values[word] = word if following.startswith("--") else following
    return values
