"""Is what a device computed or carried checked, so that a wrong result is never told as a speed? On the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.node.measuring import MIB, Spoiled, run

pytestmark = pytest.mark.torch


# -- products


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32", "tf32"])
def test_a_right_product_is_verified_and_timed(programs, dtype):
    (row,) = run(programs("gemm").measure, dtype=dtype, n=192, seconds=0.0)
    assert row["verified"], row["wrong"]
    assert len(row["flops_per_s"]) >= 3
    assert all(rate > 0 for rate in row["flops_per_s"])


def test_the_rate_is_of_two_operations_for_each_product_of_elements(programs):
    seconds_each = iter([0.03] + [2.0] * 9)
    module = programs("gemm")
    module.stopwatch.timed = lambda *_: next(seconds_each)  # 10 ms each, so 10 a stretch
    (row,) = run(module.measure, dtype="fp32", n=64, seconds=0.0)
    assert row["flops_per_s"][0] == pytest.approx(2 * 64**3 * 10 / 2.0)


def spoil_mm(wrong: Any, from_call: int = 0) -> Spoiled:
    """``wrong(c)`` changes products from that call on."""
    import torch  # noqa: PLC0415 - as above

    calls = iter(range(10**6))

    def mm(a: Any, b: Any) -> Any:
        c = torch.mm(a, b)
        if next(calls) >= from_call:
            wrong(c)
        return c

    return Spoiled(mm=mm)


WRONG = {
    "one element of a row is four times as large as any": lambda c: c[7, 3].fill_(4 * float(c.abs().max())),
    "a tile is zero": lambda c: c[:32, :32].zero_(),
    "one is not a number": lambda c: c[100, 5].fill_(float("nan")),
    "two rows changed places": lambda c: c.copy_(c[[1, 0, *range(2, len(c))]]),
    "all is one part in twenty too large": lambda c: c.mul_(1.05),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
def test_a_wrong_product_is_seen(programs, wrong, dtype):
    row = run(programs("gemm").measure, spoil_mm(wrong), dtype=dtype, n=192, seconds=0.0)[-1]
    assert not row["verified"]
    assert "rows are wrong" in row["wrong"]


def test_a_bit_that_flips_in_a_later_product_is_seen(programs):
    def last_bit(c: Any) -> None:
        c.view(programs("stopwatch") and __import__("torch").int16)[5, 5] ^= 1

    row = run(programs("gemm").measure, spoil_mm(last_bit, 5), dtype="bf16", n=192, seconds=0.0)[-1]
    assert not row["verified"]
    assert "other bits than the first" in row["wrong"]


@pytest.mark.parametrize("seconds", [0.0, 4.0, 60.0, 3600.0])
def test_what_lasts_for_minutes_is_measured_a_second_at_a_time(programs, seconds):
    """A stretch cannot be cut short, so it decides by how much all of it is late."""
    module, asked = programs("gemm"), []

    def timed(_torch: Any, _device: str, _work: Any, times: int = 1) -> float:
        asked.append(times)
        return times * 0.01

    module.stopwatch.timed = timed
    module.stopwatch.each = lambda once, _seconds: [once()]
    run(module.measure, dtype="fp32", n=64, seconds=seconds)
    assert asked == [3, 100 if seconds >= 60 else 10]


def test_what_was_found_so_far_is_said_as_it_goes(programs):
    """Whoever is stopped for heat, or a newcomer, keeps it."""
    module = programs("gemm")
    module.TELL_S = 0.0
    rows = run(module.measure, dtype="fp32", n=64, seconds=0.0)
    assert [len(row["flops_per_s"]) for row in rows] == [1, 2, 3, 3]
    assert all(row["verified"] for row in rows)


def test_a_wrong_product_is_said_at_once_and_never_taken_back(programs):
    rows = run(programs("gemm").measure, spoil_mm(lambda c: c.zero_(), 5), dtype="bf16", n=64, seconds=0.0)
    assert len(rows) == 2, "when it is seen, and at the end"
    assert not any(row["verified"] for row in rows)
    assert len(rows[0]["flops_per_s"]) < len(rows[1]["flops_per_s"])


# -- copies


def test_a_copy_inside_counts_what_is_read_and_written(programs):
    (row,) = run(programs("copies").inside, size_bytes=4 * MIB, seconds=0.0)
    assert row == {**row, "kind": "hbm", "size_bytes": 8 * MIB, "verified": True}
    assert len(row["times_s"]) >= 3


def test_both_directions_to_the_host_are_told(programs):
    rows = run(programs("copies").with_host, size_bytes=MIB, seconds=0.0, directions=["h2d", "d2h"])
    assert [(row["kind"], row["size_bytes"], row["verified"]) for row in rows] == [
        ("h2d", MIB, True),
        ("d2h", MIB, True),
    ]


@pytest.mark.parametrize("word", [0, 77, -1])
def test_a_word_that_arrives_wrong_is_seen(programs, word):
    module = programs("copies")
    plain = module.stopwatch.timed

    def timed(torch: Any, device: str, work: Any, times: int = 1) -> float:
        took = plain(torch, device, work, times)
        target = work.__closure__[1].cell_contents
        target[word] ^= 1 << 40
        return took

    module.stopwatch.timed = timed
    (row,) = run(module.inside, size_bytes=MIB, seconds=0.0)
    assert not row["verified"]


# -- NUMA


def machine(root: Path, *, cpus: tuple[str, ...], gpu_node: int, distances: tuple[str, ...]) -> str:
    for number, (each, far) in enumerate(zip(cpus, distances, strict=True)):
        folder = root / f"sys/devices/system/node/node{number}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(each + "\n")
        (folder / "distance").write_text(far + "\n")
    device = root / "sys/bus/pci/devices/0000:3b:00.0"
    device.mkdir(parents=True)
    (device / "numa_node").write_text(f"{gpu_node}\n")
    return str(root)


def test_the_node_of_a_device_and_the_farthest_with_cpus_are_found(programs, tmp_path, monkeypatch):
    numa = programs("numa")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    root = machine(tmp_path, cpus=("0", "1", ""), gpu_node=0, distances=("10 21 40", "21 10 40", "40 40 10"))
    assert numa.of_device("00000000:3B:00.0", root) == 0
    assert numa.farthest(0, root) == 1, "the third has memory only"
    assert numa.farthest(None, root) is None


@pytest.mark.parametrize(
    ("cpus", "node"), [(("200-203", "0-1"), 1), (("200", "0", "1"), None), (("", "0-1"), 1)],
    ids=["of one other node", "of several", "memory without CPUs"],
)  # fmt: skip
def test_where_no_cpu_of_the_own_node_is_allowed_it_is_measured_from_elsewhere(
    programs, tmp_path, monkeypatch, cpus, node
):
    """A cpuset on the other socket: the kernel refuses a process there with EINVAL."""
    stays: list[set[int]] = []
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr("os.sched_setaffinity", lambda _, allowed: stays.append(allowed))
    root = machine(tmp_path, cpus=cpus, gpu_node=0, distances=("10 21 21", "21 10 21", "21 21 10")[: len(cpus)])
    given = {"size_bytes": MIB, "seconds": 0.0, "directions": ["h2d"], "pci_address": "0000:3b:00.0", "root": root}
    (row,) = run(programs("copies").with_host, **given)
    assert (row["numa"], row["near"], row["verified"]) == (node, False, True)
    assert stays == []


def test_of_a_node_s_cpus_those_are_used_that_are_allowed_and_far_is_where_there_are_some(
    programs, tmp_path, monkeypatch
):
    stays: list[set[int]] = []
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 2, 3})
    monkeypatch.setattr("os.sched_setaffinity", lambda _, allowed: stays.append(allowed))
    numa = programs("numa")
    root = machine(tmp_path, cpus=("0-1", "2-7", "8-9"), gpu_node=0, distances=("10 21 40", "21 10 40", "40 40 10"))
    assert (numa.stay_on(0, root), numa.stay_on(2, root)) == (True, False)
    assert stays == [{1}]
    assert numa.farthest(0, root) == 1


def test_a_device_of_which_the_kernel_knows_no_node_has_none(programs, tmp_path):
    root = machine(tmp_path, cpus=("0",), gpu_node=-1, distances=("10",))
    assert programs("numa").of_device("0000:3b:00.0", root) is None


def test_without_another_node_there_is_nothing_far_to_tell(programs, tmp_path):
    root = machine(tmp_path, cpus=("0-1",), gpu_node=0, distances=("10",))
    given = {"size_bytes": MIB, "seconds": 0.0, "directions": ["h2d"], "pci_address": "0000:3b:00.0", "root": root}
    assert run(programs("copies").with_host, far=True, **given) == []
    (near,) = run(programs("copies").with_host, **given)
    assert (near["numa"], near["near"]) == (0, True)


# -- pairs


def test_both_directions_of_a_pair_are_told_apart(programs):
    rows = run(programs("p2p").pair, devices=("cpu", "cpu"), size_bytes=MIB, seconds=0.0)
    assert [row["places"] for row in rows] == [(0, 1), (1, 0)]
    assert all(row["verified"] and row["size_bytes"] == MIB for row in rows)


def zeros_arrive(count: int) -> Spoiled:
    """From the ``count``-th receiving buffer on, what is copied into it never comes."""
    import torch  # noqa: PLC0415 - as above

    class Deaf(torch.Tensor):
        def copy_(self, *_: object, **__: object) -> Any:
            return self

    made = iter(range(99))

    def zeros_like(tensor: Any) -> Any:
        found = torch.zeros_like(tensor)
        return found.as_subclass(Deaf) if next(made) >= count else found

    return Spoiled(zeros_like=zeros_like)


def test_zeros_that_arrive_are_told_with_the_direction(programs):
    rows = run(programs("p2p").pair, zeros_arrive(1), devices=("cpu", "cpu"), size_bytes=MIB, seconds=0.0)
    assert [row["verified"] for row in rows] == [True, False]
    assert rows[1]["wrong"].endswith("are not what was sent: zeros")


# -- the same bits


def test_a_right_device_finds_what_whole_numbers_come_to(programs):
    (row,) = run(programs("fingerprint").measure, n=192, rounds=2)
    assert row["exact"] == row["expected"]
    assert row["repeated"]
    assert run(programs("fingerprint").measure, n=192, rounds=1)[0]["rounded"] == row["rounded"]


def test_a_device_that_is_off_by_one_in_one_element_has_another_fingerprint(programs):
    right = run(programs("fingerprint").measure, n=192, rounds=1)[0]
    (row,) = run(programs("fingerprint").measure, spoil_mm(lambda c: c[3, 3].add_(1)), n=192, rounds=1)
    assert row["exact"] != row["expected"]
    assert row["rounded"] != right["rounded"]


def test_a_first_call_that_rounds_coarsely_is_no_error_of_the_device(programs):
    """The dispatch race of MKL 2024 on CPUs: one thread's part of the first tanh of a process is off by 5e-5."""
    import torch  # noqa: PLC0415 - as above

    calls = iter(range(99))
    coarse = Spoiled(tanh=lambda x: torch.tanh(x) + (5e-5 if next(calls) == 0 else 0.0))
    (row,) = run(programs("fingerprint").measure, coarse, n=192, rounds=2)
    assert row["repeated"]


def test_a_device_that_errs_once_does_not_repeat_itself(programs):
    (row,) = run(programs("fingerprint").measure, spoil_mm(lambda c: c[0, 0].add_(1), 12), n=192, rounds=3)
    assert not row["repeated"]
