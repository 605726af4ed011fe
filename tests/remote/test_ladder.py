"""Does the first step that changes the result name the cause? Results are injected; no rank runs here."""

from __future__ import annotations

import msgspec
import pytest

from diag.facts.speed import NcclLog, Rung
from diag.remote.ladder import STEPS, is_decided, says, steps, variables, why_degraded
from tests.checks.hgx_speed import collectives, nccl_log
from tests.checks.machines import gpu_node

NAMES = [step.name for step in STEPS]
WRONG, HUNG = "wrong", "hung"


def rungs(*results: object) -> list[Rung]:
    """GB/s of each step in turn, or how it ended."""
    found = []
    for name, result in zip(NAMES, results, strict=False):
        rate = None if result == HUNG else 100e9 if result == WRONG else result * 1e9
        found.append(Rung(step=name, variables=(), busbw_bytes_per_s=rate, verified=result != WRONG))
    return found


@pytest.mark.parametrize(
    ("results", "cause"),
    [
        ((HUNG, HUNG, 30), "it comes through without peer access between GPUs (P2P): that is at fault"),
        ((WRONG, WRONG, 30), "it is right without peer access between GPUs (P2P): that is at fault"),
        ((HUNG, 370), "it comes through without NVLS (multicast in NVSwitch): that is at fault"),
        ((HUNG, HUNG, HUNG, 12), "it comes through without shared host memory (SHM): that is at fault"),
        ((90, 370), "it is 4.1 times as fast without NVLS (multicast in NVSwitch): that is at fault"),
        ((9, 9, 9.2, 21), "it is 2.3 times as fast without shared host memory (SHM): that is at fault"),
        ((30, 30.5, 29.5, 11), "it is the same without NVLS (multicast in NVSwitch): that was not in use"),
        ((370, 300, 301, 11), "it is the same without peer access between GPUs (P2P): that was not in use"),
        ((300, 200, 30, 11, 6, 1), "every step makes it slower, as it should: the links or GPUs themselves are slow"),
        ((HUNG,) * 6, "no step helps, not even plain sockets: a GPU, its driver or the library itself"),
        ((181,), ""),
    ],
)
def test_the_first_step_that_changes_the_result_names_the_cause(results, cause):
    assert says(rungs(*results)) == cause


def test_what_is_faster_goes_before_what_changes_nothing():
    assert "SHM" in says(rungs(9, 9, 9, 21))


def test_no_more_load_is_made_once_the_cause_is_known():
    assert is_decided(rungs(HUNG, 370))
    assert not is_decided(rungs(370, 300, 301))


def test_only_what_is_there_is_switched_off():
    assert [step.name for step in steps(nccl_log())] == NAMES
    bare = NcclLog(nvls=False, network="Socket")
    assert [step.name for step in steps(bare)] == ["default", "P2P off", "SHM off"]
    assert [step.name for step in steps(None)] == ["default", "NVLS off", "P2P off", "SHM off", "socket"]


def test_each_step_keeps_what_those_before_it_set():
    chosen = steps(nccl_log())
    assert variables(chosen, 0) == {}
    assert variables(chosen, 2) == {"NCCL_NVLS_ENABLE": "0", "NCCL_P2P_DISABLE": "1"}
    assert variables(chosen, 4)["NCCL_IB_HCA"] == "=mlx5_0:1"
    assert variables(chosen, 5)["NCCL_NET"] == "Socket"


def test_a_healthy_node_is_not_degraded():
    assert why_degraded(gpu_node(1), collectives(1), None) == ""


def test_referees_tell_who_is():
    node, good = gpu_node(1), collectives(1)
    wrong = msgspec.structs.replace(good.times[0], verified=False)
    slow = msgspec.structs.replace(good.times[2], busbw_bytes_per_s=181e9)
    assert "wrong sums" in why_degraded(node, msgspec.structs.replace(good, times=(wrong,)), None)
    assert why_degraded(node, msgspec.structs.replace(good, times=(slow,)), None) == "below what its model reaches"
    assert why_degraded(node, good, 0.062) == "6.2% below its peers"
    assert why_degraded(node, msgspec.structs.replace(good, times=(), summary="rank 3 hung"), None) == "rank 3 hung"
