"""Is a wrong sum seen, whatever is wrong with it?"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.torch

NODE = Path(__file__).parents[2] / "diag" / "node"
WORLD_SIZE = 4
SIZE_BYTES = 64 * 1024


@pytest.fixture
def summed(monkeypatch) -> Any:
    """A payload of rank 1 after a right all-reduce over all ranks."""
    monkeypatch.syspath_prepend(str(NODE))
    import sums  # noqa: PLC0415 - a module of the agent, found through the path above
    import torch  # noqa: PLC0415 - slow, and this file's alone

    payloads = [sums.Payload(torch, SIZE_BYTES, rank, WORLD_SIZE, "cpu") for rank in range(WORLD_SIZE)]
    for payload in payloads:
        payload.fill()
    total = sum(payload.tensor for payload in payloads)
    payloads[1].tensor.copy_(total)
    yield payloads[1]
    del sys.modules["sums"]


def test_the_right_sum_is_right(summed):
    assert summed.is_right()


def test_before_the_all_reduce_it_is_not(summed):
    summed.fill()
    assert not summed.is_right()


WRONG: dict[str, Callable[[Any], object]] = {
    "one element of sixteen thousand is off by one": lambda tensor: tensor[11_111].add_(1),
    "the last element is": lambda tensor: tensor[-1].add_(1),
    "a bit of the first one flipped": lambda tensor: tensor[0].mul_(-1),
    "two chunks of a ring changed places": lambda tensor: tensor.copy_(
        tensor.view(WORLD_SIZE, -1)[[1, 0, 2, 3]].flatten()
    ),
    "a chunk was added once too often": lambda tensor: tensor[: len(tensor) // WORLD_SIZE].mul_(1.25),
    "a page came back as zeros": lambda tensor: tensor[4096:5120].zero_(),
    "one is not a number": lambda tensor: tensor[77].fill_(float("nan")),
}


@pytest.mark.parametrize("spoil", WRONG.values(), ids=WRONG)
def test_a_wrong_sum_is_seen(summed, spoil):
    spoil(summed.tensor)
    assert not summed.is_right()


def test_a_rank_that_put_in_nothing_is_seen(summed):
    summed.tensor.sub_(summed.own.repeat(len(summed.tensor) // len(summed.own) + 1)[: len(summed.tensor)])
    assert not summed.is_right()
