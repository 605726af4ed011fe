"""Who waits for whom, and who said so? From markers as the ranks of a job that hangs write them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from diag.remote.hangs import behind, into, numbers, witnesses
from diag.remote.hearing import Hearing
from tests.remote.test_outcome import a_hearing, came, ended, outcomes

RAS = (Path(__file__).parents[1] / "data" / "nccl" / "ras-one-behind.txt").read_text()


def stands(heard: Hearing, rank: int, calls: int, waits_s: float | None) -> None:
    standing: dict[str, Any] = {"into": "size_65536", "since_s": 12.0, "calls": calls, "waits_s": waits_s}
    heard.hear({"rank": rank, "into": "size_65536"})
    heard.hear({"rank": rank, "standing": standing})


def recorded(heard: Hearing, rank: int, enqueued: int, completed: int) -> None:
    active = {"active": "gloo:all_reduce", "elements": 16384} if enqueued > completed else {}
    heard.hear({"rank": rank, "flight": {"enqueued": enqueued, "completed": completed, **active}})


def hung(nodes: int = 4) -> Hearing:
    """The last rank never enters collective 37, in which all others wait."""
    heard = a_hearing(nodes)
    came(heard, *range(nodes))
    for rank in range(nodes - 1):
        stands(heard, rank, 37, 12.1)
        recorded(heard, rank, 37, 36)
    stands(heard, nodes - 1, 36, None)
    recorded(heard, nodes - 1, 36, 36)
    return heard


def test_who_has_not_entered_what_all_others_wait_in_is_named_with_who_waits():
    record = ended(hung())
    assert outcomes(record) == ["stopped", "stopped", "stopped", "rank_frozen"]
    assert record.ranks[3].said == "has not entered collective 37, in which ranks 0-2 wait"
    assert record.ranks[3].into == "size_65536"
    assert record.summary.startswith("n3: rank 3 frozen after phase first_collective (5.0 s), in size 64.0 KiB since ")
    assert record.summary.endswith("; ranks 0-2 wait for it")


def test_it_is_said_who_spoke_and_who_did_not():
    assert ended(hung()).cited == (
        "NCCL RAS silent: the collective is not NCCL's; said by torch's flight recorder: "
        "ranks 0-2 in collective 37, gloo:all_reduce of 16,384 elements; rank 3 not in it"
    )


def test_where_all_are_in_the_same_collective_nobody_is_blamed_and_that_is_said():
    heard = a_hearing(3)
    came(heard, 0, 1, 2)
    for rank in range(3):
        stands(heard, rank, 37, 12.1)
        recorded(heard, rank, 37, 36)
    record = ended(heard)
    assert outcomes(record) == ["stopped"] * 3
    assert record.summary.startswith("not finished after 12.0 s, all ranks alive; ranks 0-2 in size 64.0 KiB since ")
    assert record.witnesses[1].said == "ranks 0-2 in collective 37, gloo:all_reduce of 16,384 elements"
    assert record.witnesses[1].behind == ()


@pytest.mark.parametrize(("waits_s", "calls"), [(1.0, 37), (12.0, 36)])
def test_one_that_is_merely_later_is_not_behind(waits_s, calls):
    """Others wait for a moment only; or it waits itself, in the collective before."""
    heard = a_hearing(4)
    for rank in range(3):
        stands(heard, rank, 37, waits_s)
    stands(heard, 3, 36, None if calls == 37 else 12.0)
    assert behind(heard) == {}


def test_half_of_the_ranks_are_not_behind_the_other_half():
    heard = hung(2)
    assert behind(heard) == {}


def test_a_frozen_rank_gives_no_record_and_that_is_said():
    heard = a_hearing(3)
    came(heard, 0, 1, 2)
    heard.hear({"trouble": {"who": "rank:2", "cause": "rank_frozen", "what": "silent for 10 s in phase x"}})
    for rank in (0, 1):
        recorded(heard, rank, 37, 36)
    assert witnesses(heard)[1].said.endswith("; rank 2 gave none")


def of_nccl(nodes: int) -> Hearing:
    heard = Hearing(replace(a_hearing(nodes).who, backend="nccl"))
    came(heard, *range(nodes))
    return heard


def test_what_ras_says_in_parts_is_put_together():
    heard = of_nccl(4)
    heard.hear({"rank": 0, "ras": {"begins": True, "text": "of an earlier time"}})
    heard.hear({"rank": 0, "ras": {"begins": True, "text": RAS[:700]}})
    heard.hear({"rank": 0, "ras": {"begins": False, "text": RAS[700:]}})
    heard.hear({"rank": 2, "ras": {"why": "no answer at 127.0.0.1:41001: timed out"}})
    ras = witnesses(heard)[0]
    assert (ras.spoke, ras.behind) == (True, (1,))
    assert ras.said == "rank 1 behind operation 37; rank 3 reported ncclRemoteError"


def test_a_process_that_ras_misses_is_named_where_nobody_else_is():
    heard = of_nccl(3)
    text = RAS.split("Errors\n")[0] + "Errors\n======\n\n#0-0 (27a079b828ff1a75) INCOMPLETE\n  The missing rank: 2\n"
    heard.hear({"rank": 0, "ras": {"begins": True, "text": text}})
    record = ended(heard)
    assert outcomes(record) == ["stopped", "stopped", "rank_frozen"]
    assert record.ranks[2].said == "its process gives NCCL's RAS no answer"


@pytest.mark.parametrize(
    ("ras", "said"),
    [
        ({"why": "NCCL 2.21.5 has no RAS (since 2.24)"}, "NCCL 2.21.5 has no RAS (since 2.24)"),
        ({"begins": True, "text": "HTTP/1.1 400"}, "not an answer of NCCL's RAS: 'HTTP/1.1 400'"),
    ],
)
def test_where_ras_says_nothing_it_is_said_why(ras, said):
    heard = of_nccl(2)
    heard.hear({"rank": 0, "ras": ras})
    assert (witnesses(heard)[0].spoke, witnesses(heard)[0].said) == (False, said)


def test_a_job_that_came_through_needs_no_witness():
    heard = a_hearing(2)
    came(heard, 0, 1, phases=("done",))
    recorded(heard, 0, 40, 40)
    assert ended(heard).witnesses == ()


def test_places_are_spelled_for_people():
    assert numbers([3]) == "rank 3"
    assert numbers([4, 0, 1, 2]) == "ranks 0-2, 4"
    assert into("size_4194304") == "size 4.0 MiB"
    assert into("first_collective") == "first collective"
