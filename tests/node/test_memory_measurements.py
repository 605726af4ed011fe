"""Is it told how much memory can really be had, and what a process takes of it before its first tensor? On the CPU."""

from __future__ import annotations

import mmap
import os
import weakref
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

    had: list[int] = []

    def empty(count: int, **options: Any) -> Any:
        if sum(had) + count * 8 > 7 * MIB:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        had.append(count * 8)
        block = torch.empty(count, **options)
        weakref.finalize(block, had.remove, count * 8)
        return block

    (row,) = run(programs("fill").measure, Spoiled(empty=empty), block_bytes=4 * MIB, limit_bytes=12 * MIB)
    assert row["allocatable_bytes"] == 6 * MIB


class Gpu:
    """It loads a kernel when that is first used, 3 MiB each, and keeps small results in a segment of 2 MiB, which
    goes back to the driver when memory is short and no result is left. What is let go stays torch's until then.
    """

    int64 = "int64"

    def __init__(self, size_bytes: int, late_kernel: bool = False) -> None:
        self.size_bytes, self.late_kernel, self.used, self.cached, self.results = size_bytes, late_kernel, 0, 0, 0
        self.loaded: set[str] = set()
        self.segment = False
        self.cuda = self

    def mem_get_info(self, _: str) -> tuple[int, int]:
        return self.size_bytes - self.used, self.size_bytes

    def empty_cache(self) -> None:
        self.used -= self.cached
        self.cached = 0
        if self.segment and not self.results:
            self.segment, self.used = False, self.used - 2 * MIB

    def take(self, size_bytes: int) -> None:
        if self.used + size_bytes > self.size_bytes:
            self.empty_cache()
        if self.used + size_bytes > self.size_bytes:
            raise RuntimeError("CUDA out of memory. Tried to allocate")
        self.used += size_bytes

    def load(self, kernel: str) -> None:
        if kernel not in self.loaded:
            if self.used + 3 * MIB > self.size_bytes:
                raise RuntimeError("CUDA error: out of memory")
            self.loaded.add(kernel)
            self.used += 3 * MIB

    def empty(self, count: int, **_: object) -> Block:
        self.take(count * 8)
        block = Block(self, count)
        weakref.finalize(block, self.let_go, count * 8)
        return block

    def let_go(self, size_bytes: int) -> None:
        self.cached += size_bytes

    def aminmax(self, block: Block) -> tuple[Result, Result]:
        self.load("aminmax")
        if not self.segment:
            self.take(2 * MIB)
            self.segment = True
        return Result(self, block.value), Result(self, block.value)


class Block:
    def __init__(self, gpu: Gpu, count: int) -> None:
        self.gpu, self.count, self.value = gpu, count, 0

    def __getitem__(self, part: slice) -> Block:
        return Block(self.gpu, len(range(*part.indices(self.count))))

    def numel(self) -> int:
        return self.count

    def fill_(self, value: int) -> None:
        self.gpu.load("fill")
        if self.gpu.late_kernel and self.gpu.used > self.gpu.size_bytes // 2:
            self.gpu.load("another")
        self.value = value


class Result:
    def __init__(self, gpu: Gpu, value: int) -> None:
        self.gpu, self.value = gpu, value
        gpu.results += 1

    def __del__(self) -> None:
        self.gpu.results -= 1

    def __int__(self) -> int:
        return self.value


@pytest.mark.parametrize("size_bytes", [64 * MIB, 13 * MIB])
def test_what_the_check_itself_needs_is_taken_before_all_the_rest(programs, size_bytes):
    (row,) = run(programs("fill").measure, Gpu(size_bytes), devices=("cuda:0",), block_bytes=16 * MIB)
    left = (size_bytes - 8 * MIB) // (2 * MIB) * 2 * MIB
    assert row == {"told_bytes": size_bytes, "allocatable_bytes": left, "verified": True}


def test_where_the_check_is_refused_the_smallest_are_given_back_and_the_rest_is_told(programs):
    gpu = Gpu(64 * MIB, late_kernel=True)
    (row,) = run(programs("fill").measure, gpu, devices=("cuda:0",), block_bytes=16 * MIB)
    assert row == {"told_bytes": 64 * MIB, "allocatable_bytes": 48 * MIB, "verified": True}


def test_an_illegal_access_is_no_end_of_the_memory(programs):
    def empty(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        run(programs("fill").measure, Spoiled(empty=empty), block_bytes=4 * MIB, limit_bytes=8 * MIB)


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


class RefusingGpu(SharedGpu):
    """In exclusive mode: it lets no second process in; or one that has no room for a product."""

    def __init__(self, call: str, pid: int) -> None:
        super().__init__()
        self.call, self.first = call, pid

    def _refuse(self, call: str) -> None:
        if call == self.call and os.getpid() != self.first:
            raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nframe #0: noise")

    def zeros(self, *_: object, **__: object) -> None:
        self._refuse("zeros")
        super().zeros()

    def mm(self, *_: object) -> None:
        self._refuse("mm")
        super().mm()


@pytest.mark.parametrize("call", ["zeros", "mm"])
def test_why_the_second_process_got_no_context_is_told_in_the_driver_s_words(programs, call):
    with pytest.raises(RuntimeError, match=r"the second process on the GPU: RuntimeError: CUDA error: .* unavailable$"):
        run(programs("context").measure, RefusingGpu(call, os.getpid()), devices=("cuda:0",))


def test_a_second_process_that_dies_is_noticed(programs):
    gpu = SharedGpu()
    gpu.mm = lambda *_: os.kill(os.getpid(), 9)
    with pytest.raises(RuntimeError, match="ended without a word"):
        run(programs("context").measure, gpu, devices=("cuda:0",))
