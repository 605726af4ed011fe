"""Is a wrong element seen in every kind of collective? All ranks are here, in one process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytestmark = pytest.mark.torch

NODE = Path(__file__).parents[2] / "diag" / "node"
RANKS, SIZE_BYTES = 4, 64 * 1024
KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast")


@pytest.fixture
def exchanges(monkeypatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(NODE))
    import exchanges  # noqa: PLC0415 - a module of the agent, found through the path above

    yield exchanges
    for name in ("exchanges", "sums"):
        sys.modules.pop(name, None)


def after(exchanges: Any, kind: str) -> Any:
    """Rank 1 after a right collective over all ranks, done by hand."""
    import torch  # noqa: PLC0415 - slow, and this file's alone

    who = [SimpleNamespace(rank=rank, world_size=RANKS, device="cpu") for rank in range(RANKS)]
    each = [exchanges.Exchange(torch, None, kind, SIZE_BYTES, one) for one in who]
    for one in each:
        one.fill()
    given, part = [one.given.clone() for one in each], len(each[1].given) // RANKS
    came = {
        "all_reduce": lambda: sum(given),
        "all_gather": lambda: torch.cat(given),
        "reduce_scatter": lambda: sum(given)[part : 2 * part],
        "all_to_all": lambda: torch.cat([one[part : 2 * part] for one in given]),
        "broadcast": lambda: given[0],
    }[kind]()
    each[1].came.copy_(came)
    return each[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_result_is_right_and_before_it_is_not(exchanges, kind):
    one = after(exchanges, kind)
    assert one.size_bytes == SIZE_BYTES
    assert one.is_right()
    one.fill()
    assert not one.is_right()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [0, 777, -1])
def test_one_wrong_element_is_seen(exchanges, kind, place):
    one = after(exchanges, kind)
    one.came[place] += 1
    assert not one.is_right()


@pytest.mark.parametrize("kind", ["all_gather", "all_to_all"])
def test_chunks_that_changed_places_are_seen(exchanges, kind):
    one = after(exchanges, kind)
    one.came.copy_(one.came.view(RANKS, -1)[[1, 0, 2, 3]].flatten())
    assert not one.is_right()


def test_a_graph_finds_its_tensors_where_they_were(exchanges):
    one = after(exchanges, "all_gather")
    places = (one.given.data_ptr(), one.came.data_ptr())
    one.fill()
    assert (one.given.data_ptr(), one.came.data_ptr()) == places
