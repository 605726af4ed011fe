"""Is a plan told so that its command can be copied and each flag believed?"""

from __future__ import annotations

import io
import shlex

import msgspec

from diag.facts.plan import EngineName, Plan
from diag.report.ink import Ink
from diag.report.launch import command_lines, plan_lines
from tests.report import samples


def told(plan: Plan, *, explain: bool = False) -> str:
    return "\n".join(plan_lines(plan, Ink(io.StringIO(), width=80), explain=explain))


def test_the_command_copied_from_the_terminal_is_the_planned_one():
    recipe = samples.PLAN.recipe
    text = "\n".join(command_lines(recipe.argv, recipe.env, 60))
    words = shlex.split(text.replace("\\\n", " "))
    assert words == ["NCCL_SOCKET_IFNAME=bond0", *recipe.argv]
    assert all(len(line) <= 60 for line in text.splitlines())


def test_a_value_stands_beside_the_measurement_that_asked_for_it():
    assert "  0.86             gpu03:2 has 68.9 of 79.2 GiB free" in told(samples.PLAN)
    assert "  8192" not in told(samples.PLAN)


def test_explain_shows_every_estimate_candidate_and_source():
    text = told(samples.PLAN, explain=True)
    assert "weights         17.0 GiB    17.0 GiB    17.0 GiB" in text
    assert "activation             ?           ?           ?" in text
    assert "--enforce-eager" in text.split("sources")[1]


def test_what_cannot_be_planned_says_why_and_what_would_help():
    plan = Plan(verdict="UNKNOWN", reason="not known: mamba", lever="name another", engine=EngineName(name="vllm"))
    assert told(plan).splitlines()[1:] == ["UNKNOWN  not known: mamba", "lever  name another"]


def test_an_unmeasured_load_time_is_said_to_be_unknown():
    plan = msgspec.structs.replace(samples.PLAN, load_seconds=None)
    assert "Load time not known: no read speed was measured" in " ".join(told(plan).split())
