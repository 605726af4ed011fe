"""Does nobody wait at the gate in vain, and can one still come after it was opened?"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

NODE = Path(__file__).parents[2] / "diag" / "node"


@pytest.fixture
def module(monkeypatch) -> Any:
    monkeypatch.syspath_prepend(str(NODE))
    import gate  # noqa: PLC0415 - a module of the agent, found through the path above

    yield gate
    sys.modules.pop("gate")


def one_that_comes(gate: Any, number: int) -> int:
    """A process that comes to the gate and goes through it; its exit status is 0 if it could."""
    pid = os.fork()
    if pid == 0:
        try:
            gate.place(number).meet()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def test_one_that_comes_long_after_the_others_were_let_through_is_let_through_too(module, monkeypatch):
    monkeypatch.setattr(module, "MEET_S", 0.0)
    gate = module.Gate(opened=False)
    early = one_that_comes(gate, 1)
    while not gate.look([1, 2]):
        pass
    late = one_that_comes(gate, 2)
    assert [os.waitpid(pid, 0)[1] for pid in (early, late)] == [0, 0]
    gate.look([])
    assert gate.came >= {2}
    gate.close()


def test_a_round_in_which_all_begin_one_after_the_other_has_no_gate(module):
    gate = module.Gate(opened=True)
    pid = one_that_comes(gate, 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert not gate.look([1, 2])
    gate.close()


def test_who_waits_is_let_through_when_the_last_one_has_come(module):
    gate = module.Gate(opened=False)
    first = one_that_comes(gate, 1)
    while not gate.came:
        assert not gate.look([1, 2])
    assert os.waitpid(first, os.WNOHANG) == (0, 0)
    second = one_that_comes(gate, 2)
    while not gate.look([1, 2]):
        pass
    assert [os.waitpid(pid, 0)[1] for pid in (first, second)] == [0, 0]
    gate.close()
