"""Who is blamed, and in which words, when a job of several nodes ends badly? From markers as ranks write them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from diag.data_interface import Place
from diag.errors import NodeError
from diag.facts.collective import Collective
from diag.participants import Participants
from diag.remote.hearing import Hearing
from diag.remote.outcome import busbw, collective
from diag.remote.session import JobEnd

PHASES = ("spawned", "imported", "roll_called", "initialised", "first_collective")


def a_hearing(nodes: int = 3, ranks: int = 1, interfaces: tuple[str, ...] = ()) -> Hearing:
    names = interfaces or ("eth0",) * nodes
    places = tuple(
        Place(node=f"n{number}", interface=names[number], address=f"10.0.0.{number + 1}") for number in range(nodes)
    )
    who = Participants(
        backend="gloo", backend_why="", places=places, ranks=(ranks,) * nodes, interface_why="", excluded={"n9": "busy"}
    )
    return Hearing(who)


def came(heard: Hearing, *ranks: int, phases: tuple[str, ...] = PHASES, **last: Any) -> None:
    for rank in ranks:
        for number, phase in enumerate(phases):
            heard.hear({"rank": rank, "local_rank": 0, "phase": phase, "at": number + 1.0})
        if last:
            heard.hear({"rank": rank, "local_rank": 0, "at": 9.0, **last})


def measured(heard: Hearing, rank: int, size_bytes: int, *times_s: float, verified: bool = True) -> None:
    heard.hear({"rank": rank, "phase": f"size_{size_bytes}", "size_bytes": size_bytes, "times_s": list(times_s),
                "verified": verified, "at": 6.0})  # fmt: skip


def ended(heard: Hearing) -> Collective:
    return collective(heard, rendezvous="10.0.0.1:20000", environment={}, blocked=(), taken_s=12.0)


def outcomes(record: Collective) -> list[str]:
    return [rank.outcome for rank in record.ranks]


def test_what_nccl_said_is_kept_for_each_node_that_told_it():
    heard = a_hearing(2, ranks=2)
    heard.who = replace(heard.who, backend="nccl")
    heard.hear({"rank": 2, "log": ["n1:7:7 [0] NCCL INFO Using network Socket"]})
    assert [(name, log.network) for name, log in ended(heard).logs] == [("n1", "Socket")]


def test_a_repetition_lasts_as_long_as_on_its_slowest_rank():
    heard = a_hearing(2)
    measured(heard, 0, 1000, 0.1, 0.2, 0.3)
    measured(heard, 1, 1000, 0.3, 0.1, 0.1)
    (step,) = ended(heard).steps
    assert step.times_s == (0.3, 0.2, 0.3)
    assert step.algbw_bytes_per_s == pytest.approx(1000 / 0.3)
    assert step.busbw_bytes_per_s == pytest.approx(1000 / 0.3)


@pytest.mark.parametrize(("ranks", "factor"), [(2, 1.0), (4, 1.5), (8, 1.75)])
def test_busbw_is_two_n_minus_one_over_n_of_algbw(ranks, factor):
    assert busbw(ranks, 1000, 2.0) == factor * 500


def test_a_size_that_not_all_ranks_measured_is_no_step():
    heard = a_hearing(2)
    measured(heard, 0, 1000, 0.1)
    assert ended(heard).steps == ()


def test_a_wrong_sum_is_in_the_step_the_rank_and_the_summary():
    heard = a_hearing(2)
    came(heard, 0, 1)
    measured(heard, 0, 8192, 0.1)
    measured(heard, 1, 8192, 0.1, verified=False)
    came(heard, 0, 1, phases=("done",), library="gloo of torch 2.13.0")
    record = ended(heard)
    assert record.finished
    assert not record.steps[0].verified
    assert [rank.said for rank in record.ranks] == ["", "wrong sum at 8.0 KiB"]
    assert record.summary == "gloo of torch 2.13.0, 2 ranks, eth0: WRONG SUMS at 8.0 KiB"


def test_sizes_that_did_not_fit_are_named():
    heard = a_hearing(2)
    measured(heard, 0, 8192, 0.1)
    measured(heard, 1, 8192, 0.1)
    came(heard, 0, 1, phases=("done",), library="gloo of torch 2.13.0")
    heard.hear({"rank": 0, "phase": "size_8192", "left_out": 67108864, "expected_s": 80.0})
    record = ended(heard)
    assert record.left_out_bytes == (67108864,)
    assert record.summary.endswith("; left out for lack of time: 64.0 MiB")


def test_a_missing_node_is_missed_by_every_rank_of_the_others():
    heard = a_hearing(3, ranks=2)
    lost = {"who": "node:1", "cause": "rank_missing", "what": "nothing was heard of it for 15 s"}
    heard.hear({"trouble": lost})
    for node in (0, 2):
        heard.hear({"launcher": node, "troubles": [lost]})
    record = ended(heard)
    assert outcomes(record) == ["stopped", "stopped", "rank_missing", "rank_missing", "stopped", "stopped"]
    assert record.ranks[0].missed == (2, 3)
    assert record.summary == "n1: ranks 2, 3 missing before it reported anything: nothing was heard of it for 15 s"


def test_an_error_of_one_rank_is_its_own():
    heard = a_hearing()
    came(heard, 0, 1, 2)
    heard.hear({"trouble": {"who": "rank:1", "cause": "failed", "what": "RuntimeError: shm"}})
    came(heard, 1, phases=(), failed="RuntimeError: shm")
    came(heard, 0, 2, phases=(), troubles=[{"who": "rank:1", "cause": "failed", "what": "RuntimeError: shm"}])
    record = ended(heard)
    assert outcomes(record) == ["stopped", "rank_died", "stopped"]
    assert record.summary == "n1: rank 1 died after phase first_collective (5.0 s): RuntimeError: shm"
    assert record.ranks[2].said == "rank 1: RuntimeError: shm"


def test_the_same_error_on_all_is_nobodys():
    heard = a_hearing()
    came(heard, 0, 1, 2, failed="RuntimeError: Timed out waiting 30000ms for recv operation")
    record = ended(heard)
    assert outcomes(record) == ["stopped"] * 3
    assert record.summary == (
        "3 of 3 ranks failed, none before the others, after phase first_collective (5.0 s): "
        "RuntimeError: Timed out waiting 30000ms for recv operation"
    )


def test_an_error_that_follows_a_death_is_not_blamed():
    heard = a_hearing()
    came(heard, 0, 1, 2)
    died = {"who": "rank:2", "cause": "rank_died", "what": "its process ended in phase first_collective"}
    heard.hear({"trouble": died})
    came(heard, 0, 1, phases=(), failed="RuntimeError: Connection closed by peer [10.0.0.3]:4711", troubles=[died])
    heard.hear({"launcher": 2, "ends": {"2": -7}})
    record = ended(heard)
    assert outcomes(record) == ["stopped", "stopped", "rank_died"]
    assert record.ranks[2].said == "killed by signal 7 (SIGBUS)"


def test_a_node_whose_agent_ended_is_named_with_that():
    heard = a_hearing()
    came(heard, 0, 1, 2)
    heard.hear(
        {"trouble": {"who": "rank:0", "cause": "rank_died", "what": "its process ended in phase first_collective"}}
    )
    heard.end(0, NodeError("n0", "agent_silent", "the agent ended"))
    assert outcomes(ended(heard)) == ["agent_silent", "stopped", "stopped"]
    assert ended(heard).summary == "n0: rank 0 agent silent after phase first_collective (5.0 s): the agent ended"


def test_a_rank_that_lost_the_board_alone_is_cut_off():
    heard = a_hearing()
    came(heard, 0, 1, 2)
    came(
        heard,
        1,
        phases=(),
        troubles=[{"who": "board", "cause": "agent_silent", "what": "no answer from the board for 12 s"}],
    )
    record = ended(heard)
    assert outcomes(record) == ["stopped", "rank_frozen", "stopped"]
    assert "its data network is cut" in record.summary


def test_when_most_lost_the_board_the_first_node_is_named():
    heard = a_hearing()
    came(heard, 0, 1, 2, troubles=[{"who": "board", "cause": "agent_silent", "what": "the board's process ended"}])
    assert outcomes(ended(heard)) == ["agent_silent", "stopped", "stopped"]


def test_a_launcher_that_ends_without_a_word_is_named_with_its_last_output():
    heard = a_hearing()
    heard.end(
        1, JobEnd(status=1, signal=None, output="Traceback\nModuleNotFoundError: No module named 'numpy'\n", seconds=1)
    )
    record = ended(heard)
    assert outcomes(record) == ["stopped", "rank_died", "stopped"]
    assert record.ranks[1].said == "ModuleNotFoundError: No module named 'numpy'"


def test_without_trouble_the_one_furthest_behind_is_named_at_the_deadline():
    heard = a_hearing()
    came(heard, 0, 2)
    came(heard, 1, phases=PHASES[:2])
    assert (
        ended(heard).summary == "not finished after 12.0 s, all ranks alive; rank 1 on n1 after phase imported (2.0 s)"
    )


def test_interfaces_that_differ_are_listed_by_node():
    record = ended(a_hearing(2, interfaces=("eth0", "ens3")))
    assert record.interface is None
    assert record.interfaces == (("n0", "eth0"), ("n1", "ens3"))


def test_a_line_that_is_no_marker_is_left_alone():
    heard = a_hearing()
    for line in ({"rank": "seven"}, {"rank": 77, "phase": "done"}, {"phase": 3}, {}):
        heard.hear(line)
    assert heard.troubled_at is None


def test_who_was_left_out_is_kept():
    assert ended(a_hearing()).excluded == (("n9", "busy"),)
