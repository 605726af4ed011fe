"""Is a plan told so that its command can be copied and each flag believed?"""

from __future__ import annotations

import io
import shlex

import msgspec

from diag.facts.plan import EngineName, Plan
from diag.report.command import command_lines
from diag.report.ink import Ink
from diag.report.launch import plan_lines
from tests.report import plans, samples


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


def test_the_first_screen_says_whether_it_fits_and_ends_with_the_command():
    lines = told(plans.FITS).splitlines()
    assert lines[0].startswith("── plan: vllm 0.33.0, stable ──")
    assert lines[1].startswith("FITS  TP 8 inside a node")
    assert len(lines) < 40
    assert lines[-4].startswith("    --gpu-memory-utilization 0.86")


def test_memory_is_broken_at_its_bars_only():
    assert [line for line in told(plans.FITS).splitlines() if "│" in line or "79.2" in line][:2] == [
        "GiB    weights 17.0 │ KV 48.1 │ activation 2.1 │ graphs 0.9 │ other 1.4 │",
        "       held 0.6 │ free 9.1 of 79.2",
    ]


def test_notes_get_a_line_each():
    lines = told(plans.FITS).splitlines()
    assert "note   weights take 21 % of a GPU's memory: below the rule of thumb (60–80 %)," in lines
    assert "       for throughput: --max-num-seqs 256 costs 1.8 GiB of KV cache (48.1 to" in lines


def test_what_the_log_prints_is_told_where_it_is_not_the_truth():
    text = " ".join(told(plans.HYBRID).split())
    assert "KV 1,205,862 tokens: 36.8 requests of 32k." in text
    assert "log will print 602,112 tokens (37,632 blocks of 16), 18.38 requests of 32k; the truth is 1,205,862" in text
    assert "log " not in told(plans.FITS)
    assert "log    will print 1,260,912 tokens (78,807 blocks of 16)" in told(plans.FITS, explain=True)


def test_more_requests_than_may_run_at_once_are_said_to_wait():
    parameters = msgspec.structs.replace(plans.FITS.parameters, max_model_len=8192)
    assert "153.9 requests of 8k, 64 run at once." in told(msgspec.structs.replace(plans.FITS, parameters=parameters))


def test_each_replica_has_its_own_tokens():
    parameters = msgspec.structs.replace(plans.FITS.parameters, data_parallel_size=2)
    assert "KV     2 × 1,260,896 tokens: 2 × 38.5 requests of 32k." in told(
        msgspec.structs.replace(plans.FITS, parameters=parameters)
    )


def test_brief_compares_in_a_sentence():
    text = "\n".join(plan_lines(plans.FITS, Ink(io.StringIO(), width=80), brief=True))
    assert "TP 8, 256 sequences discarded: activation at its high estimate" in text
    assert "10 more: diag plan --explain" in text
    assert "wwww" not in text


def test_how_often_the_command_is_run_stands_before_it():
    assert "\nrun    once on each node\nvllm serve " in told(plans.FITS)


def test_a_terminal_with_few_characters_gets_the_bars_too():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    ink = Ink(stream, width=80)
    ink.write([*plan_lines(plans.FITS, ink), *plan_lines(plans.NO, ink)])
    stream.seek(0)
    text = stream.read()
    assert "wwwwwwwKKKKKKKKKKKKKKKKKKKago----h" in text
    assert "w>" in text
