"""Does each engine's fraction come to the bytes that its formula says, and is it lowered to what is free?"""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from diag.engines import lmdeploy, ollama, sglang, vllm
from diag.planner.memory.attempt import Device
from diag.planner.memory.shares import Taken, decode_sizes, room, safe_fraction
from diag.units import GIB

CARD = Device(name="card", total_bytes=100 * GIB, free_bytes=90 * GIB, capability=(9, 0))
TAKEN = Taken(weights=20 * GIB, context=2 * GIB, inside=3 * GIB, activation=4 * GIB, graphs=GIB)


def test_vllm_takes_its_fraction_of_total_and_looks_at_what_is_free():
    found = room(vllm.rules("0.25"), CARD, 0.5, TAKEN)
    assert (found.budget, found.kv, found.beside) == (50 * GIB, 27 * GIB, 38 * GIB)
    assert found.starts
    assert not room(vllm.rules("0.25"), CARD, 0.9, TAKEN).starts


def test_total_is_what_programs_see_of_it():
    seen = replace(CARD, usable_bytes=98 * GIB)
    assert room(vllm.rules("0.25"), seen, 0.5, TAKEN).budget == 49 * GIB


def test_vllm_0_8_counts_what_others_hold():
    found = room(vllm.rules("0.8"), CARD, 0.5, TAKEN)
    assert found.kv == (50 - 20 - 3 - 2 - 10) * GIB
    assert found.starts


def test_sglang_takes_its_fraction_of_what_is_free_before_loading():
    found = room(sglang.rules("0.5.10"), CARD, 0.5, TAKEN)
    assert (found.budget, found.kv, found.beside) == (44 * GIB, 21 * GIB, 44 * GIB)


def test_lmdeploy_takes_its_fraction_of_what_is_free_after_loading():
    found = room(lmdeploy.rules("0.18"), CARD, 0.8, replace(TAKEN, runtime=5 * GIB))
    assert found.kv == int(0.8 * (90 - 2 - 20 - 3 - 5) * GIB)
    assert found.beside == 60 * GIB - found.kv + 5 * GIB


def test_ollama_takes_four_fifths_of_what_is_free_everywhere():
    found = room(ollama.rules(None), CARD, 0.8, replace(TAKEN, inside=0), gpus=2)
    assert found.kv == 144 * GIB - 20 * GIB


def test_a_fraction_is_lowered_to_whole_hundredths():
    lowered = safe_fraction(vllm.rules("0.25"), CARD, own=0.92, most=TAKEN)
    assert (lowered.utilization, lowered.lowered) == (0.83, True)
    assert "lowered from 0.92" in lowered.source


def test_a_fraction_that_has_room_stays():
    kept = safe_fraction(vllm.rules("0.25"), replace(CARD, free_bytes=100 * GIB), own=0.92, most=TAKEN)
    assert (kept.utilization, kept.lowered) == (0.92, False)


@pytest.mark.parametrize("rules", [vllm.rules("0.25"), vllm.rules("0.8"), sglang.rules("0.5.10"), lmdeploy.rules(None)])
def test_a_lowered_fraction_leaves_the_room_that_is_needed(rules):
    most = replace(TAKEN, activation=30 * GIB)
    lowered = safe_fraction(rules, CARD, own=0.95, most=most)
    found = room(rules, CARD, lowered.utilization, most)
    assert lowered.lowered
    assert found.starts
    assert found.beside >= most.beside


@pytest.mark.parametrize(("most", "sizes"), [(8, 4), (160, 23), (256, 35)])
def test_decode_batches_are_captured_at_every_eighth_size(most, sizes):
    assert decode_sizes(most) == sizes
