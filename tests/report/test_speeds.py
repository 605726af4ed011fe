"""Are the figures of GPUs and of collectives inside nodes told, folded over nodes that are alike?"""

from __future__ import annotations

import io
import time
from typing import Any

import msgspec

from diag.facts.snapshot import Snapshot
from diag.facts.speed import CollectiveTime, Rung
from diag.facts.verdict import Verdicts
from diag.report.figures import figure, ranged
from diag.report.gpu_speeds import gpu_lines, gpu_texts
from diag.report.ink import Ink
from diag.report.page import page
from diag.report.shown import Shown
from diag.report.together import together_lines, together_texts
from diag.units import GIB, KIB, MIB, gb_per_s, seconds
from tests.checks.changes import having, item, on
from tests.checks.healthy import gpu_cluster

MEASURED = {8 * KIB: (24, 0.6), 64 * KIB: (26, 4.4), MIB: (36, 51.0), 16 * MIB: (140, 210.0), GIB: (3950, 476.0)}


def ink(width: int) -> Ink:
    return Ink(io.StringIO(), width=width)


def row(collective: str, environment: str, captured: bool, size_bytes: int, faster: float = 1.0) -> CollectiveTime:
    micro, giga = MEASURED[size_bytes]
    return CollectiveTime(
        collective=collective, environment=environment, captured=captured, size_bytes=size_bytes,
        times_s=(micro * 1e-6 / faster,) * 3, busbw_bytes_per_s=giga * 1e9 * faster, verified=True,
    )  # fmt: skip


BOTH = (False, True)
TIMES = (
    *(row("all_reduce", "engine", captured, each, 1.2 if captured else 1) for captured in BOTH for each in MEASURED),
    *(row("all_reduce", "default", captured, each, 0.9) for captured in BOTH for each in MEASURED),
    *(row("vllm_pynccl", "engine", False, each, 1.1) for each in MEASURED if each <= MIB),
    *(row("vllm_custom", "engine", False, each, 2.5) for each in MEASURED if each <= 64 * KIB),
    *(row("broadcast", "engine", False, each) for each in MEASURED),
)


def rich(nodes: int = 4, **fields: Any) -> Snapshot:
    everything = {"times": TIMES, "engine_variables": (("NCCL_NVLS_ENABLE", "0"),), **fields}
    return on("*", speed=having(collectives=having(**everything)))(gpu_cluster(nodes))


def test_the_page_tells_each_model_of_gpu_in_one_text_beside_what_is_expected():
    (told,) = gpu_texts(gpu_cluster(50))
    assert told.startswith("400 × NVIDIA H100 80GB HBM3: GEMM bf16 733.5–736.5 TFLOP/s (expected 794.5), memory ")
    assert "H2D 55.1–55.3 GB/s (expected 55.0)" in told
    assert "GPU to GPU 380.2–381.8 GB/s (expected 376.0)" in told


def test_the_table_of_gpus_holds_every_figure_that_was_measured():
    lines = gpu_lines(gpu_cluster(), ink(80))
    figures = [line.strip().partition("  ")[0] for line in lines[2:]]
    assert figures == [
        *(f"GEMM {dtype}" for dtype in ("bf16", "fp16", "fp8", "tf32", "fp32")), "clock in bf16", "memory",
        "H2D", "D2H", "H2D, far NUMA node", "D2H, far NUMA node", "H2D, all GPUs at once", "D2H, all GPUs at once",
        "GPU to GPU",
    ]  # fmt: skip


def test_the_odd_gpu_is_named_and_widens_no_range():
    slower = having(flops_per_s=lambda rates: tuple(rate * 0.8 for rate in rates))
    is_it = lambda entry: (entry.gpu, entry.dtype) == (5, "bf16")  # noqa: E731
    (told,) = gpu_texts(on("gpu02", speed=having(gemms=item(is_it, slower)))(gpu_cluster()))
    assert "bf16 733.5–736.5 TFLOP/s" in told
    assert "far behind: gpu02:5 GEMM bf16 588.5 TFLOP/s" in told


def test_what_computed_wrongly_is_no_figure():
    wrong = on("*", speed=having(gemms=item(lambda _: True, having(verified=False))))(gpu_cluster())
    assert "GEMM" not in "\n".join(gpu_lines(wrong, ink(80)))


def test_the_clock_under_load_stands_beside_the_highest():
    assert any("clock in bf16" in line and "at most 1,980 MHz" in line for line in gpu_lines(gpu_cluster(), ink(80)))
    slowed = item(lambda row: (row.gpu, row.during) == (5, "gemm bf16"), having(sm_mhz=1305))
    lines = gpu_lines(on("gpu02", speed=having(loads=slowed))(gpu_cluster()), ink(80))
    assert "far behind: gpu02:5 clock in bf16 1,305 MHz" in "\n".join(lines)


def test_the_page_tells_small_messages_eager_and_captured_as_an_upper_bound():
    told, bound = together_texts(rich())
    assert told.startswith(
        "all-reduce of 8 GPUs in gpu[01-04]: 8.0 KiB 24 µs, in a CUDA graph 20 µs, vLLM's own 10 µs;"
    )
    assert told.endswith("1.0 GiB 476.0 GB/s (expected 478.0)")
    assert "NCCL's times of small messages are an upper bound" in bound


def test_a_hundred_nodes_that_are_alike_make_as_many_lines_as_one():
    one, many = together_lines(rich(1), ink(80)), together_lines(rich(100), ink(80))
    assert len(one) == len(many)
    assert many[0] == "collectives of 8 GPUs in gpu[01-99,100]"


def test_the_table_holds_graphs_defaults_and_vllms_own_side_by_side():
    lines = [line.split() for line in together_lines(rich(), ink(80))]
    assert ["eager", "in", "graph", "defaults", "graph", "PyNccl", "custom"] in lines
    assert ["all_reduce", "8.0", "KiB", "µs", "24", "20", "27", "27", "22", "9.6"] in lines
    assert ["all_reduce", "1.0", "GiB", "GB/s", "476", "571", "428", "428", "-", "-"] in lines
    assert ["broadcast", "1.0", "MiB", "µs", "36", "-", "-", "-", "-", "-"] in lines


def test_a_table_too_wide_for_the_terminal_becomes_sentences():
    lines = together_lines(rich(), ink(60))
    assert max(map(len, lines)) <= 60
    assert "  all_reduce 8.0 KiB µs     eager 24, in graph 20, defaults" in lines


def test_the_odd_node_is_named():
    late = tuple(
        msgspec.structs.replace(each, times_s=(9e-5,)) if each.size_bytes == 8 * KIB else each for each in TIMES
    )
    told, _ = together_texts(on("gpu03", speed=having(collectives=having(times=late)))(rich()))
    assert "8.0 KiB 24 µs, in a CUDA graph 20 µs" in told
    assert "far behind: gpu03 8.0 KiB eager 90 µs; gpu03 8.0 KiB in graph 90 µs" in told


def test_the_ladder_is_told_with_its_rungs():
    rungs = (
        Rung(step="default", variables=(), why="rank 3 hung in all_reduce_65536"),
        Rung(step="NVLS off", variables=(("NCCL_NVLS_ENABLE", "0"),), busbw_bytes_per_s=370e9, latency_s=3e-5),
    )
    says = "it comes through without NVLS (multicast in NVSwitch): that is at fault"
    found = on("gpu02", speed=having(collectives=having(ladder=rungs, ladder_says=says)))(rich())
    assert f"gpu02: all-reduce with one way after the other switched off: {says}" in list(together_texts(found))
    lines = together_lines(found, ink(80))
    assert "gpu02  default: rank 3 hung in all_reduce_65536" in lines
    assert "       NVLS off: busbw 370.0 GB/s, a small one in 30 µs" in lines


def test_what_was_left_out_is_told_once_for_each_reason():
    left_out = (("vLLM's PyNccl", "no module named vllm._C"), ("vLLM's custom all-reduce", "no module named vllm._C"))
    *_, told = together_texts(rich(left_out=left_out))
    assert told == ("not measured inside gpu[01-04]: vLLM's PyNccl, vLLM's custom all-reduce: no module named vllm._C")


def test_the_tables_are_shown_only_to_who_asks_for_more():
    verdicts = Verdicts(diag="0", exit_status=0, checks={}, verdicts=(), culprits=(), stages=())
    brief = page(Shown(verdicts=verdicts, snapshot=rich()), ink(80))
    whole = page(Shown(verdicts=verdicts, snapshot=rich(), verbosity=1), ink(80))
    assert not any("speeds inside the nodes" in line for line in brief)
    assert any(line.startswith("── speeds inside the nodes ") for line in whole)
    assert any("all-reduce of 8 GPUs in gpu[01-04]" in line for line in brief)


def test_a_thousand_nodes_are_told_in_a_second():
    cluster = rich(1000)
    began = time.process_time()
    assert [*gpu_texts(cluster), *together_texts(cluster)]
    assert time.process_time() - began < 2


def test_nothing_is_said_where_nothing_was_measured():
    none = on("*", speed=having(gemms=(), bandwidths=(), p2p=(), loads=(), collectives=having(times=())))(gpu_cluster())
    assert [*gpu_texts(none), *gpu_lines(none, ink(80)), *together_texts(none), *together_lines(none, ink(80))] == []


def test_a_range_says_its_unit_once_where_both_ends_have_it():
    assert ranged(24e-6, 31e-6, seconds) == "24–31 µs"
    assert ranged(24e-6, 24.1e-6, seconds) == "24 µs"
    assert ranged(9e-4, 1.1e-3, seconds) == "900 µs to 1.1 ms"
    assert ranged(45e9, 55e9, gb_per_s) == "45.0–55.0 GB/s"


def test_of_times_the_longer_are_odd_and_of_rates_the_lower():
    alike = {(f"n{place}", None): 10.0 for place in range(4)}
    assert figure({**alike, ("late", None): 20.0}, times=True).odd == {("late", None): 20.0}
    assert figure({**alike, ("fast", None): 5.0}, times=True).odd == {}
    assert figure({**alike, ("slow", None): 5.0}).odd == {("slow", None): 5.0}
