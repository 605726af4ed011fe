"""Can a reader see what was compared, and why each other candidate lost?"""

from __future__ import annotations

import io

import msgspec
import pytest

from diag.facts.plan import Discarded, Parameters, Plan
from diag.report.candidates import candidate_lines
from diag.report.ink import Ink
from tests.report import plans

TABLE = """\
                     KV tokens  32k requests  memory of a GPU, 79.2 GiB
> TP 8       FITS    1,260,896          38.5  wwwwwwwKKKKKKKKKKKKKKKKKKKago····h
  TP 4 DP 2  FITS  2 × 401,056      2 × 12.2  wwwwwwwwwwwwwKKKKKKKKKKKKKago····h
    4 GPUs a replica hold 12.2 requests of 32k, TP 8 holds 38.5
  TP 4 PP 2  FITS      621,264          19.0  wwwwwwwKKKKKKKKKKKKKKKKKKKago····h
    as many GPUs as TP 8, a pipeline step more for every token
  TP 2 DP 4  NO              0           0.0  wwwwwwwwwwwwwwwwwwwwwwwwwwwago···h
    weights leave 6.5 GiB less than nothing: 67.7 GiB of the 67.3 GiB share
  TP 3: 64 heads do not divide by 3; likewise TP 5, TP 6, TP 7
  TP 8 PP 3: 24 ranks, there are 16 GPUs; likewise TP 16 PP 2, TP 16 PP 4
  2 more: diag plan --explain
  w weights  K KV  a activation  g graphs  o other  · free  h held
"""


def told(plan: Plan, width: int = 80, *, every: bool = False) -> str:
    return "\n".join(candidate_lines(plan, Ink(io.StringIO(), width=width), every=every)) + "\n"


def test_the_table_on_80_columns_is_this():
    assert told(plans.FITS) == TABLE


def test_all_of_them_keep_their_reason_when_all_are_asked_for():
    text = " ".join(told(plans.FITS, every=True).split())
    for one in plans.OTHERS:
        assert one.reason in text
    assert "more: diag plan" not in text
    assert "256 sequences: activation at its high estimate" in text


def test_the_same_reason_is_told_once():
    assert told(plans.FITS, every=True).count("32 ranks, there are 16 GPUs") == 1
    assert "TP 16 PP 2, TP 16 PP 4: 32 ranks" in told(plans.FITS, every=True)


@pytest.mark.parametrize("width", [40, 50, 60, 71, 72, 80, 100])
def test_no_line_is_wider_than_the_terminal(width):
    for plan in (plans.FITS, plans.NO):
        assert max(map(len, told(plan, width, every=True).splitlines())) <= width


def test_a_narrow_terminal_gets_figures_in_place_of_bars():
    text = told(plans.FITS, 60)
    assert "wwww" not in text
    assert "GiB: weights 33.9, KV 30.6, activation 2.1, graphs 0.9," in text
    assert "32k requests" in text
    assert "32k requests" not in told(plans.FITS, 40)


def test_where_contexts_differ_each_row_says_its_own():
    shorter = msgspec.structs.replace(plans.FITS.discarded[1], parameters=plans.asked(4, length=8192))
    text = told(msgspec.structs.replace(plans.FITS, discarded=(shorter,)))
    assert "38.5 of 32k" in text
    assert "49.0 of 8k" in text
    assert "    context 8k: 4 GPUs a replica" in text


def test_nothing_to_compare_is_no_table():
    assert candidate_lines(plans.HYBRID, Ink(io.StringIO(), width=80)) == []


def test_what_was_refused_before_memory_needs_no_table():
    refused = Discarded(parameters=Parameters(tensor_parallel_size=16), reason="232 heads do not divide by 16")
    assert told(msgspec.structs.replace(plans.UNKNOWN, discarded=(refused,))) == (
        "  TP 16: 232 heads do not divide by 16\n"
    )


def test_what_came_from_elsewhere_does_not_steer_the_terminal():
    odd = msgspec.structs.replace(plans.OTHERS[1], reason="\x1b[31m [bold]red[/bold]")
    text = told(msgspec.structs.replace(plans.FITS, discarded=(odd,)))
    assert "\x1b" not in text
    assert "[bold]red[/bold]" in text
