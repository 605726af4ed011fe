"""Does the bar show the memory to scale, and can it be read without colours?"""

from __future__ import annotations

import io
from collections import Counter

import msgspec
import pytest
from rich.console import Console

from diag.facts.plan import Estimate, MemorySplit
from diag.report.memory_split import MemoryBar, cells, figures, free_bytes, legend
from tests.report import plans

GIB = plans.GIB


def drawn(memory: MemorySplit, width: int, color_system: str | None = None) -> str:
    to = io.StringIO()
    forced = color_system is not None
    Console(file=to, width=width, color_system=color_system, force_terminal=forced).print(MemoryBar(memory), end="")
    return to.getvalue().rstrip("\n")


def test_the_bar_has_a_letter_for_each_term_in_its_share_of_the_width():
    memory = MemorySplit(
        total_bytes=80 * GIB, held_bytes=4 * GIB, weights_bytes=plans.around(20), kv_cache_bytes=plans.around(40),
        activation_bytes=plans.around(4), cuda_graph_bytes=plans.around(2), non_torch_bytes=plans.around(2),
    )  # fmt: skip
    assert drawn(memory, 40) == "wwwwwwwwwwKKKKKKKKKKKKKKKKKKKKaago····hh"


@pytest.mark.parametrize("width", [1, 2, 7, 29, 64, 300])
@pytest.mark.parametrize("kv_gib", [0.0, 0.1, 9.0, 48.1, 57.0])
def test_the_bar_is_as_wide_as_it_is_asked_to_be(width, kv_gib):
    assert len(cells(plans.split(17.0, kv_gib), width)) == width


def test_what_is_small_is_seen_and_taken_from_what_is_large():
    counted = Counter(cells(plans.split(17.0, 48.1), 29))
    assert counted == {"weights": 6, "KV": 16, "activation": 1, "graphs": 1, "other": 1, "free": 3, "held": 1}


def test_what_does_not_fit_runs_out_of_the_bar():
    assert drawn(plans.split(69.8, 0, total_gib=64), 20) == "w" * 19 + "»"
    assert figures(plans.split(69.8, 0, total_gib=64))[-1] == "missing 10.8 of 64.0"


def test_with_colours_words_stand_where_there_is_room():
    text = drawn(plans.split(17.0, 48.1), 60, "standard")
    assert "weights" in text
    assert "\x1b[30;42m" in text
    assert "ww" not in text


def test_a_split_that_is_not_known_as_a_whole_has_figures_but_no_bar():
    memory = msgspec.structs.replace(plans.split(17.0, 48.1), activation_bytes=Estimate())
    assert free_bytes(memory) is None
    assert cells(memory, 30) == []
    assert figures(memory) == ["weights 17.0", "KV 48.1", "graphs 0.9", "other 1.4", "held 0.6"]
    assert figures(MemorySplit()) == []


def test_the_legend_names_what_is_there_and_nothing_else():
    assert legend([plans.split(17.0, 48.1)], coloured=False).plain == (
        "w weights  K KV  a activation  g graphs  o other  · free  h held"
    )
    assert "» missing" in legend([plans.split(69.8, 0, total_gib=64)], coloured=False).plain
