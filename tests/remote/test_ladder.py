"""Does the first step that changes the result name the cause? Results are injected; no rank runs here."""

from __future__ import annotations

import msgspec
import pytest

from diag import measuring
from diag.facts.speed import NcclLog, Rung
from diag.remote import climb
from diag.remote.ladder import STEPS, VARIABLES_OFF, has_failed, is_decided, says, steps, variables, why_degraded
from diag.wishes import DEADLINES_S
from tests.checks.hgx_speed import collectives, nccl_log
from tests.checks.machines import gpu_node

NAMES = [step.name for step in STEPS if step.name != VARIABLES_OFF]
WRONG, HUNG, UNKNOWN = "wrong", "hung", "unknown"
NVLS = "NVLS (multicast in NVSwitch)"
ENGINE = {"NCCL_CUMEM_ENABLE": "0"}


def rungs(*results: object, names: list[str] = NAMES) -> list[Rung]:
    """GB/s of each step in turn, or how it ended."""
    found = []
    for name, result in zip(names, results, strict=False):
        rate = None if result in (HUNG, UNKNOWN) else 100e9 if result == WRONG else result * 1e9
        set_too = () if name == VARIABLES_OFF else tuple(ENGINE.items())
        known = result != UNKNOWN
        found.append(Rung(step=name, variables=set_too, busbw_bytes_per_s=rate, verified=result != WRONG, known=known))
    return found


def with_engine(*results: object) -> list[Rung]:
    return rungs(*results, names=["default", VARIABLES_OFF, *NAMES[1:]])


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


@pytest.mark.parametrize(
    ("results", "cause"),
    [
        ((HUNG, 370), "it comes through without the engine's variables (NCCL_CUMEM_ENABLE=0): they are at fault"),
        ((WRONG, 370), "it is right without the engine's variables (NCCL_CUMEM_ENABLE=0): they are at fault"),
        ((90, 370), "it is 4.1 times as fast without the engine's variables (NCCL_CUMEM_ENABLE=0): they are at fault"),
        ((HUNG, HUNG, 370), "it comes through without NVLS (multicast in NVSwitch): that is at fault"),
        ((90, 91, 370), "it is 4.1 times as fast without NVLS (multicast in NVSwitch): that is at fault"),
        ((370, HUNG, 372), "it is the same without NVLS (multicast in NVSwitch): that was not in use"),
    ],
)
def test_the_engines_variables_are_a_step_of_their_own(results, cause):
    assert says(with_engine(*results)) == cause


@pytest.mark.parametrize(
    ("results", "cause"),
    [
        ((UNKNOWN, 370, 369), "it is the same without peer access between GPUs (P2P): that was not in use"),
        ((UNKNOWN, 370), ""),
        ((UNKNOWN,) * 6, ""),
        (
            (HUNG, UNKNOWN, 30),
            f"it comes through without {NVLS} and peer access between GPUs (P2P): one of them is at fault",
        ),
    ],
)
def test_a_step_that_ended_before_it_could_tell_is_no_evidence(results, cause):
    assert says(rungs(*results)) == cause


def test_what_no_time_was_left_for_concludes_nothing():
    assert says(rungs(HUNG, HUNG), whole=False) == ""
    assert says(rungs(300, 200), whole=False) == ""


def test_what_comes_right_the_second_time_blames_no_link():
    told = says(rungs(370), failed=True)
    assert told.startswith("an all-reduce comes through and is right this time")
    assert is_decided(rungs(370), failed=True)
    assert not is_decided(rungs(UNKNOWN, 370), failed=True)
    assert says(rungs(UNKNOWN, 370, 300, 200), failed=True) == ""


def test_wrong_and_missing_sums_are_failures_and_slow_ones_are_not():
    good = collectives(1)
    assert not has_failed(good)
    assert has_failed(msgspec.structs.replace(good, times=()))
    assert has_failed(msgspec.structs.replace(good, times=(msgspec.structs.replace(good.times[0], verified=False),)))


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


def test_what_the_engine_sets_is_there_on_every_step_but_the_one_without():
    chosen = steps(nccl_log(), {**ENGINE, "NCCL_NVLS_ENABLE": "0"})
    assert [step.name for step in chosen][:3] == ["default", VARIABLES_OFF, "P2P off"]
    assert variables(chosen, 0, ENGINE) == ENGINE
    assert variables(chosen, 1, ENGINE) == {}
    assert variables(chosen, 2, ENGINE) == {**ENGINE, "NCCL_P2P_DISABLE": "1"}


def test_each_step_keeps_what_those_before_it_set():
    chosen = steps(nccl_log())
    assert variables(chosen, 0) == {}
    assert variables(chosen, 2) == {"NCCL_NVLS_ENABLE": "0", "NCCL_P2P_DISABLE": "1"}
    assert variables(chosen, 4)["NCCL_IB_HCA"] == "=mlx5_0:1"
    assert variables(chosen, 5)["NCCL_NET"] == "Socket"


def test_a_healthy_node_is_not_degraded():
    assert why_degraded(gpu_node(1), collectives(1), None) == ""


def test_no_time_and_a_newcomer_say_nothing_against_a_node():
    nothing = msgspec.structs.replace(collectives(1), times=(), summary="nccl, 8 ranks")
    late = (("the collectives", "no time was left: 3 s, and it takes 15 s"),)
    assert why_degraded(gpu_node(1), msgspec.structs.replace(nothing, left_out=late), None) == ""
    assert why_degraded(gpu_node(1), msgspec.structs.replace(nothing, stopped="pid 7 began"), None) == ""
    hung = (("the collectives", "not run after this: rank 3 hung"),)
    assert why_degraded(gpu_node(1), msgspec.structs.replace(nothing, left_out=hung), None) == "nccl, 8 ranks"


def test_referees_tell_who_is():
    node, good = gpu_node(1), collectives(1)
    wrong = msgspec.structs.replace(good.times[0], verified=False)
    slow = msgspec.structs.replace(good.times[2], busbw_bytes_per_s=181e9)
    assert "wrong sums" in why_degraded(node, msgspec.structs.replace(good, times=(wrong,)), None)
    assert why_degraded(node, msgspec.structs.replace(good, times=(slow,)), None) == "below what its model reaches"
    assert why_degraded(node, good, 0.062) == "6.2% below its peers"
    assert why_degraded(node, msgspec.structs.replace(good, times=(), summary="rank 3 hung"), None) == "rank 3 hung"


def test_the_whole_ladder_fits_into_the_time_of_its_stage():
    """Where each step hangs, down to plain sockets: only then is nothing that is switched off at fault."""
    whole_s = climb.FIRST_S + (len(STEPS) - 1) * climb.RUNG_S
    assert whole_s <= DEADLINES_S["ladder"] - measuring.END_S
