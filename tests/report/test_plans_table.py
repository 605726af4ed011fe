"""Do the plans of several engines stand side by side, each with its command?"""

from __future__ import annotations

import io

import msgspec
import pytest

from diag.facts.plan import EngineName, Plan
from diag.report.ink import Ink
from diag.report.plans_table import plans_table
from tests.report import plans

LMDEPLOY = msgspec.structs.replace(plans.NO, engine=EngineName(name="lmdeploy", version="0.18.0"))
ALL = (plans.FITS, plans.HYBRID, LMDEPLOY, plans.UNKNOWN)


def told(several: tuple[Plan, ...] = ALL, width: int = 80) -> str:
    return "\n".join(plans_table(several, Ink(io.StringIO(), width=width)))


def test_each_engine_has_a_row_and_beneath_it_why():
    lines = told().splitlines()
    assert lines[1].split() == ["parameters", "KV", "tokens", "requests"]
    assert lines[2] == "vllm 0.33.0      FITS     TP 8, 32k, 64 sequences  1,260,896      38.5"
    assert lines[3].startswith("    TP 8 inside a node; 2 replicas on 2 nodes")
    assert "lmdeploy 0.18.0  NO       TP 8, 32k, 64 sequences" in lines
    assert "    lever: a checkpoint in 8 bit: 34.9 GiB a GPU, 21.3 GiB of KV cache" in lines
    assert "ollama 0.13      UNKNOWN" in lines


def test_then_comes_each_command_that_there_is():
    text = told().split("TP 8, 32k")[-1]
    assert "\n\nvllm 0.33.0\n" in text
    assert "\nvllm serve /models/Qwen2.5-72B" in text
    assert "  0.86  gpu03:2 has 68.9 of 79.2 GiB free" in text
    assert "\n\nsglang 0.5.23\npython3 -m sglang.launch_server" in text
    assert "\n\nollama" not in text


def test_a_note_for_all_of_them_is_said_once():
    same = tuple(msgspec.structs.replace(plan, notes=("weights are read from shapes",)) for plan in ALL)
    assert told(same).count("weights are read from shapes") == 1


def test_a_wide_terminal_shows_the_memory_too():
    assert "wwwwwKKKKKKK" in told(width=100)
    assert "wwww" not in told(width=80)


@pytest.mark.parametrize("width", [40, 64, 80, 92, 100])
def test_only_a_word_of_the_command_may_be_wider_than_the_terminal(width):
    for line in told(width=width).splitlines():
        assert len(line) <= width or " " not in line.strip(" \\"), line
