"""Is every node waited for as long as agreed, and no longer?"""

from __future__ import annotations

import threading
import time

import pytest

from diag.errors import NodeError
from diag.remote.fanout import each


def test_results_come_by_name_in_the_order_asked_and_errors_beside_them():
    def refuse():
        raise NodeError("b", "ssh_auth_failed", "no key")

    results = each({"a": lambda: 1, "b": refuse, "c": lambda: 3}, width=3, deadline_s=5)
    assert list(results) == ["a", "b", "c"]
    assert (results["a"], results["c"]) == (1, 3)
    assert results["b"].cause == "ssh_auth_failed"


def test_nothing_to_do_is_done_at_once():
    assert each({}, width=3, deadline_s=5) == {}


def test_who_does_not_finish_is_named_and_not_waited_for():
    never = threading.Event()
    began = time.monotonic()
    results = each({"slow": never.wait, "fast": lambda: 1}, width=2, deadline_s=0.3)
    assert time.monotonic() - began < 2
    assert results["fast"] == 1
    assert (results["slow"].where, results["slow"].cause) == ("slow", "agent_silent")
    assert results["slow"].what == "no answer within 0.3 s"
    never.set()


def test_those_that_hang_do_not_take_the_others_places_where_there_is_one_for_each():
    never = threading.Event()
    work = {f"hangs{n}": never.wait for n in range(4)} | {f"works{n}": lambda: 1 for n in range(4)}
    results = each(work, width=8, deadline_s=0.2)
    assert [name for name, result in results.items() if result == 1] == [f"works{n}" for n in range(4)]
    never.set()


def test_no_more_than_the_width_run_at_once():
    running, most, lock = [0], [0], threading.Lock()

    def work():
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1

    each({str(n): work for n in range(40)}, width=5, deadline_s=5)
    assert most[0] == 5


def test_each_is_told_when_it_is_done_in_the_callers_thread():
    told: list[tuple[str, str]] = []
    each(
        {"slow": lambda: time.sleep(0.2), "fast": lambda: None},
        width=2,
        deadline_s=5,
        on_done=lambda name, _: told.append((name, threading.current_thread().name)),
    )
    here = threading.current_thread().name
    assert told == [("fast", here), ("slow", here)]


def test_a_surprise_keeps_its_original_and_the_others_their_results():
    results = each({"a": lambda: 1 / 0, "b": lambda: 2}, width=2, deadline_s=5)
    assert results["b"] == 2
    assert isinstance(results["a"].__cause__, ZeroDivisionError)
    assert "unexpected ZeroDivisionError: division by zero" in results["a"].what


def test_ctrl_c_passes_at_once():
    def interrupt(_, _result):
        raise KeyboardInterrupt

    never = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        each({"a": lambda: 1, "b": never.wait}, width=2, deadline_s=60, on_done=interrupt)
    never.set()


def test_a_thousand_cost_little():
    began = time.process_time()
    results = each({str(n): lambda: 1 for n in range(1000)}, width=256, deadline_s=5)
    assert sum(result == 1 for result in results.values()) == 1000
    assert time.process_time() - began < 1


def test_the_deadline_is_for_all_also_for_those_that_wait_for_a_place():
    never = threading.Event()
    began = time.monotonic()
    results = each({f"n{number}": never.wait for number in range(12)}, width=4, deadline_s=0.5)
    assert time.monotonic() - began < 1.5
    said = [str(result) for result in results.values()]
    assert sum("no answer within 0.5 s" in line for line in said) == 4
    assert sum("not begun within 0.5 s" in line for line in said) == 8
