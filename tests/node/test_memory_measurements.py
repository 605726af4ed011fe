"""Is it told how much memory can really be had, and what a process takes of it before its first tensor? On the CPU."""

from __future__ import annotations

import mmap
import os
from typing import Any

import pytest

from tests.node.measuring import MIB, Spoiled, run

pytestmark = pytest.mark.torch


# -- memory


def test_memory_is_filled_to_the_limit_and_read_back(programs):
    (row,) = run(programs("fill").measure, block_bytes=4 * MIB, limit_bytes=11 * MIB)
    assert row == {"told_bytes": 11 * MIB, "allocatable_bytes": 10 * MIB, "verified": True}


def test_memory_that_ends_early_is_told_as_it_is(programs):
    import torch  # noqa: PLC0415 - as above

    had = []

    def empty(count: int, **options: Any) -> Any:
        if sum(had) + count * 8 > 7 * MIB:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        had.append(count * 8)
        return torch.empty(count, **options)

    (row,) = run(programs("fill").measure, Spoiled(empty=empty), block_bytes=4 * MIB, limit_bytes=12 * MIB)
    assert row["allocatable_bytes"] == 6 * MIB


def test_two_blocks_on_the_same_memory_are_seen(programs):
    import torch  # noqa: PLC0415 - as above

    only = torch.empty(MIB // 8, dtype=torch.int64)
    (row,) = run(programs("fill").measure, Spoiled(empty=lambda *_, **__: only), block_bytes=MIB, limit_bytes=2 * MIB)
    assert not row["verified"]


def test_the_memory_of_a_host_is_not_filled_without_a_limit(programs):
    with pytest.raises(ValueError, match="without a limit"):
        run(programs("fill").measure)


# -- a context's own cost


class SharedGpu:
    """A GPU of 1000 bytes for several processes: a context takes 300 of them, a product's workspace 50 more."""

    def __init__(self) -> None:
        self.used = mmap.mmap(-1, 8)
        self.known: set[int] = set()
        self.cuda = self

    def _take(self, count: int) -> None:
        self.used[:] = (int.from_bytes(self.used[:], "big") + count).to_bytes(8, "big")

    def zeros(self, *_: object, **__: object) -> None:
        if os.getpid() not in self.known:
            self.known.add(os.getpid())
            self._take(300)

    def ones(self, *_: object, **__: object) -> None:
        self.zeros()

    def mm(self, *_: object) -> None:
        self._take(50)

    def synchronize(self, _: str) -> None:
        pass

    def mem_get_info(self, _: str) -> tuple[int, int]:
        return 1000 - int.from_bytes(self.used[:], "big"), 1000


def test_a_context_costs_what_a_second_process_takes_of_the_free_memory(programs):
    (row,) = run(programs("context").measure, SharedGpu(), devices=("cuda:0",))
    assert row == {"context_bytes": 300, "with_gemm_bytes": 350}
