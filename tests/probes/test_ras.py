"""Is an answer of NCCL's RAS read: who is missing, who is behind, and nothing where all is well?"""

from __future__ import annotations

from pathlib import Path

import pytest

from diag.probes.ras import Ras, read

DATA = Path(__file__).parents[1] / "data" / "nccl"


def answer(name: str, world_size: int = 32) -> Ras:
    return read((DATA / f"ras-{name}.txt").read_text(), world_size)


def test_where_all_is_well_nobody_is_named():
    assert answer("healthy") == Ras(version="2.27.3")


def test_a_process_that_gives_no_answer_is_its_rank():
    assert answer("incomplete") == Ras(version="2.27.3", missing=(21,))


def test_those_that_launched_fewer_are_behind():
    assert answer("mismatch") == Ras(version="2.24.3", behind=(0, 2, 3, 4, 5, 7), operation=6650)


def test_one_alone_behind_is_named_in_the_line_that_counts_it_and_errors_are_kept():
    assert answer("one-behind", 4) == Ras(
        version="2.28.3", behind=(1,), operation=37, errors=("rank 3 reported ncclRemoteError",)
    )


def test_when_few_are_ahead_all_others_are_behind():
    text = (DATA / "ras-mismatch.txt").read_text().replace("26 ranks have launched up to operation 6650", "26 ranks "
            "have launched up to operation 6648")  # fmt: skip
    found = read(text, 32)
    assert set(found.behind) == set(range(32)) - {0, 2, 3, 4, 5, 7}


def test_ranks_of_which_the_process_is_not_known_are_listed_too():
    text = (DATA / "ras-incomplete.txt").read_text()
    listed = text.replace("The missing rank: 21", "The missing ranks: 4,21")
    assert read(listed, 32).missing == (4, 21)
    named = text.replace("The missing rank: 21", "Rank 21 -- [process information not found]")
    assert read(named, 32).missing == (21,)


@pytest.mark.parametrize("text", ["", "HTTP/1.1 400 Bad Request\r\n\r\n", "ERROR: Unknown command VERBOSE STATUS\n"])
def test_what_is_no_answer_of_ras_is_refused(text):
    with pytest.raises(ValueError, match="not an answer of NCCL's RAS"):
        read(text, 4)


def test_an_answer_that_was_cut_is_read_as_far_as_it_goes():
    text = (DATA / "ras-mismatch.txt").read_text()
    assert read(text[: text.index("  Rank 5")], 32).behind == (0, 2, 3, 4)
