"""Is the change that a plan tells the one that helps: applied, does it fit?"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from diag.engines import plan_launch
from diag.facts.plan import Parameters
from diag.facts.snapshot import Snapshot
from diag.planner.wanted import Wanted
from diag.units import GIB
from tests.planner.clusters import UNNAMED, eight_h100, gpu_node, snapshot, with_process, write_model


def small(free: float) -> Snapshot:
    """A GPU of 24 GiB; llama-8b takes 15.0 of weights, 128 KiB a token."""
    return snapshot(gpu_node("gpu01", free_gib=(free,), total=24 * GIB, kind=UNNAMED))


def taken() -> Snapshot:
    return snapshot(with_process(eight_h100(), 3, 20.0, pid=77, name="train.py"))


def all_taken() -> Snapshot:
    node = eight_h100()
    for index in range(8):
        node = with_process(node, index, 12.0, pid=100 + index, name="python")
    return snapshot(node)


def h100(gpus: int) -> Snapshot:
    return snapshot(gpu_node("gpu01", free_gib=(79.0,) * gpus))


# -- how what is told is applied: the Snapshot or the order, changed


def _pin(**values: Any) -> Callable[[Snapshot, Wanted], tuple[Snapshot, Wanted]]:
    def changed(cluster: Snapshot, wanted: Wanted) -> tuple[Snapshot, Wanted]:
        pinned = msgspec.structs.replace(wanted.pinned, **values)
        if values.get("max_num_seqs"):
            wanted = msgspec.structs.replace(wanted, concurrency=None)
        return cluster, msgspec.structs.replace(wanted, pinned=pinned)

    return changed


def _context(length: int) -> Callable[[Snapshot, Wanted], tuple[Snapshot, Wanted]]:
    def changed(cluster: Snapshot, wanted: Wanted) -> tuple[Snapshot, Wanted]:
        return _pin(max_model_len=None)(cluster, msgspec.structs.replace(wanted, context=length))

    return changed


def _gpus(number: int) -> Callable[[Snapshot, Wanted], tuple[Snapshot, Wanted]]:
    def changed(cluster: Snapshot, wanted: Wanted) -> tuple[Snapshot, Wanted]:
        gpu, each = cluster.nodes[0].gpus[0], min(8, number)
        kind = {"total": gpu.total_bytes, "kind": gpu.name, "free_gib": (gpu.free_bytes / GIB,) * each}
        return snapshot(*(gpu_node(f"gpu0{node}", **kind) for node in range(1, number // each + 1))), wanted

    return changed


def _freed(cluster: Snapshot, wanted: Wanted) -> tuple[Snapshot, Wanted]:
    return snapshot(eight_h100(cluster.nodes[0].name)), wanted


def applied(lever: str, cluster: Snapshot, wanted: Wanted) -> tuple[Snapshot, Wanted]:
    number = int(re.sub(r"\D", "", (re.search(r"[\d,]+", lever) or ["0"])[0]) or 0)
    share = float((re.search(r"[\d.]+", lever) or ["0"])[0])
    forms: Mapping[str, Callable[[Snapshot, Wanted], tuple[Snapshot, Wanted]]] = {
        r"--max-num-seqs (\d+) frees [\d.]+ [GM]iB": _pin(max_num_seqs=number),
        r"--max-model-len \d+: a shorter context": _context(number),
        r"--gpu-memory-utilization [\d.]+ instead of .*": _pin(gpu_memory_utilization=share),
        r"\d+ such GPUs a replica .*": _gpus(number),
        r"free gpu01:\d.*": _freed,
        r"--enforce-eager saves .*": _pin(enforce_eager=True),
        r"--kv-cache-dtype fp8 halves the KV cache": _pin(kv_cache_dtype="fp8"),
        r"a checkpoint in 8 bit \(fp8\): [\d.]+ GiB of weights a GPU": _pin(quantization="fp8"),
    }
    return next(change for form, change in forms.items() if re.fullmatch(form, lever))(cluster, wanted)


MODEST = {"max_num_seqs": 1, "max_model_len": 1024, "max_num_batched_tokens": 1024}
FULL_KV = {"num_key_value_heads": 32}
"""512 KiB a token."""
CASES: list[tuple[Snapshot, str, dict[str, Any], Wanted, str]] = [
    (taken(), "llama-70b", {}, Wanted(), "free gpu01:3: pid 77, train.py"),
    (all_taken(), "llama-70b", {}, Wanted(), "free gpu01:0 and 7 more GPUs: pid 100, python"),
    (small(22), "llama-8b", {}, Wanted(pinned=Parameters(max_num_seqs=2000, max_num_batched_tokens=8192)), "--max-num"),
    (small(22.8), "llama-8b", {}, Wanted(context=65536), "--max-model-len "),
    (small(19.7), "llama-8b", {}, Wanted(context=16384), "--max-model-len 1"),
    (small(22), "llama-8b", {}, Wanted(pinned=Parameters(gpu_memory_utilization=0.5)), "--gpu-memory-utilization 0.7"),
    (
        small(22),
        "llama-8b",
        {},
        Wanted(pinned=Parameters(gpu_memory_utilization=0.99)),
        "--gpu-memory-utilization 0.89",
    ),
    (small(19), "llama-8b", FULL_KV, Wanted(pinned=Parameters(**MODEST)), "--enforce-eager"),
    (small(18.5), "llama-8b", FULL_KV, Wanted(pinned=Parameters(**MODEST, enforce_eager=True)), "--kv-cache-dtype fp8"),
    (small(16), "llama-8b", {}, Wanted(), "2 such GPUs"),
    (h100(1), "llama-70b", {}, Wanted(), "2 such GPUs"),
    (h100(2), "llama-405b", {}, Wanted(), "16 such GPUs a replica (TP 8 × PP 2)"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[-1])
def test_the_told_change_really_makes_it_fit(tmp_path, case):
    cluster, name, changes, wanted, expected = case
    model = write_model(tmp_path, name, **changes)
    plan = plan_launch(cluster, model, wanted=wanted)
    assert plan.verdict in {"NO", "RISKY"}
    assert plan.lever.startswith(expected)
    changed, asked = applied(plan.lever, cluster, wanted)
    assert plan_launch(changed, model, wanted=asked).verdict == "FITS"


def test_what_fits_has_no_lever(tmp_path):
    assert plan_launch(small(22), write_model(tmp_path, "llama-8b")).lever is None


def test_fewer_requests_are_told_with_what_they_free(tmp_path):
    wanted = Wanted(pinned=Parameters(max_num_seqs=2000, max_num_batched_tokens=8192))
    plan = plan_launch(small(22), write_model(tmp_path, "llama-8b"), wanted=wanted)
    seqs = int(re.search(r"--max-num-seqs (\d+)", plan.lever)[1])
    # sampling takes at least 14 bytes for each of 128,256 words, and penalties 4
    freed = float(re.search(r"frees ([\d.]+) GiB", plan.lever)[1]) * GIB
    assert freed == pytest.approx((2000 - seqs) * 128_256 * 20, rel=0.25)


def test_more_memory_is_told_where_no_change_helps(tmp_path):
    model = write_model(tmp_path, "llama-405b", num_hidden_layers=500)
    node = gpu_node("gpu01", free_gib=(21.0,) * 8, total=24 * GIB, kind=UNNAMED)
    plan = plan_launch(snapshot(node), model)
    assert plan.lever.startswith("more GPUs or GPUs with more memory: weights of ")


def test_a_split_that_cannot_be_is_left_to_the_plan(tmp_path):
    model = write_model(tmp_path, "llama-8b")
    wanted = Wanted(pinned=Parameters(tensor_parallel_size=5))
    plan = plan_launch(h100(8), model, wanted=wanted)
    assert (plan.verdict, plan.lever) == ("NO", "leave it to the plan: without --set TP 1 FITS")
    assert plan_launch(h100(8), model).verdict == "FITS"


BLOCK = 16


def test_a_shorter_context_is_the_longest_that_fits(tmp_path):
    model = write_model(tmp_path, "llama-8b")
    lever = plan_launch(small(19.7), model, wanted=Wanted(context=16384)).lever
    length = int(re.search(r"--max-model-len (\d+)", lever)[1])
    assert length % BLOCK == 0
    verdicts = [plan_launch(small(19.7), model, wanted=Wanted(context=one)).verdict for one in (length, length + BLOCK)]
    assert verdicts == ["FITS", "RISKY"]


@pytest.mark.parametrize(("share", "step"), [(0.5, -0.01), (0.99, 0.01)])
def test_a_share_is_changed_no_more_than_it_must(tmp_path, share, step):
    model = write_model(tmp_path, "llama-8b")

    def planned(value: float) -> Any:
        return plan_launch(small(22), model, wanted=Wanted(pinned=Parameters(gpu_memory_utilization=value)))

    told = float(re.search(r"--gpu-memory-utilization ([\d.]+) instead", planned(share).lever)[1])
    assert (planned(told).verdict, planned(round(told + step, 2)).verdict == "FITS") == ("FITS", False)


def test_a_larger_share_stands_before_a_context_cut_by_more(tmp_path):
    """14.7B in 16 bit on 40 GiB; 0.9 of it leaves less than 32,768 tokens for sure, and 3 GiB beside it are free."""
    changes = {"hidden_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 40, "intermediate_size": 13824}
    model = write_model(tmp_path, "llama-8b", **changes)
    node = gpu_node("gpu01", free_gib=(39.5,), total=40 * GIB, kind=UNNAMED)
    pinned = Parameters(gpu_memory_utilization=0.9, max_model_len=32768, max_num_seqs=256)
    plan = plan_launch(snapshot(node), model, wanted=Wanted(pinned=pinned))
    assert plan.verdict in {"NO", "RISKY"}
    assert re.match(r"--gpu-memory-utilization 0\.9\d instead of 0\.9$", plan.lever)


@pytest.mark.parametrize("settings", [{"max_num_batched_tokens": 262144}, {"max_num_batched_tokens": 10_000_000}])
def test_too_many_tokens_a_step_are_led_back_to_the_engines_own(tmp_path, settings):
    model = write_model(tmp_path, "llama-8b")
    plan = plan_launch(small(23), model, wanted=Wanted(pinned=Parameters(**settings)))
    assert plan.verdict == "NO"
    assert re.match(r"--max-num-batched-tokens 2048, as vllm takes by itself, frees [\d.]+ [GT]iB$", plan.lever)
    pinned = Parameters(max_num_batched_tokens=2048)
    assert plan_launch(small(23), model, wanted=Wanted(pinned=pinned)).verdict == "FITS"


def test_what_more_gpus_make_sure_a_larger_share_may_do(tmp_path):
    """15.0 GiB of weights: 0.92 of 16.5 leaves 0.2 for all else, 0.94 half a GiB."""
    model = write_model(tmp_path, "llama-8b")
    node = gpu_node("gpu01", free_gib=(16.1,), total=int(16.5 * GIB), kind=UNNAMED)
    plan = plan_launch(snapshot(node), model, wanted=Wanted(pinned=Parameters(**MODEST, enforce_eager=True)))
    assert plan.verdict == "NO"
    assert (
        plan.lever == "--gpu-memory-utilization 0.94 instead of 0.92: RISKY then; for sure 2 such GPUs a replica (TP 2)"
    )
