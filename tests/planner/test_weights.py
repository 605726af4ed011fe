"""Do the formulas count the parameters that are published, and the bytes that vLLM's own layers hold on each rank?"""

from __future__ import annotations

import pytest

from diag.planner.shapes import read_shapes
from diag.planner.weights import parameter_count, stage_layers, stage_weight_bytes
from tests.planner.clusters import config

PUBLISHED = {
    "llama-8b": 8_030_261_248,
    "llama-70b": 70_553_706_496,
    "llama-405b": 405_853_388_800,
    "qwen3-0.6b": 596_049_920,
    "qwen3-8b": 8_190_735_360,
    "qwen3-32b": 32_762_123_264,
    "qwen2-7b": 7_615_616_512,
    "mistral-7b": 7_248_023_552,
    "mixtral-8x7b": 46_702_792_704,
    "qwen3-30b-a3b": 30_532_122_624,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name):
    assert parameter_count(read_shapes(config(name))) == PUBLISHED[name]


# What vLLM 0.32's own model classes hold as that rank, built on the meta device.
RANKS = [
    ("llama-8b", 1, 1, 0, 16_060_522_496),
    ("llama-70b", 8, 1, 0, 17_640_734_720),
    ("llama-70b", 4, 2, 0, 17_639_407_616),
    ("llama-70b", 4, 2, 1, 17_639_424_000),
    ("qwen3-32b", 2, 1, 0, 32_762_800_128),
    ("qwen3-0.6b", 2, 1, 0, 596_115_456),
    ("qwen3-0.6b", 1, 2, 0, 751_631_360),
    ("qwen3-0.6b", 1, 2, 1, 751_633_408),
    ("mixtral-8x7b", 8, 1, 0, 11_677_999_104),
    ("qwen2-7b", 2, 1, 0, 7_615_820_800),
    ("qwen2-7b", 4, 1, 0, 3_808_114_688),
    ("mistral-7b", 2, 1, 0, 7_248_289_792),
    ("llama-1b with biases", 2, 1, 0, 1_236_324_352),
    ("llama-405b", 1, 4, 0, 201_840_328_704),
    ("llama-405b", 1, 4, 2, 204_013_043_712),
    ("llama-405b", 1, 4, 3, 201_840_361_472),
    ("qwen3-30b-a3b", 4, 1, 0, 15_285_252_096),
    ("qwen3-30b-a3b", 8, 1, 0, 7_680_585_728),
]


@pytest.mark.parametrize(("name", "tp", "pp", "stage", "expected"), RANKS)
def test_a_rank_holds_what_the_engine_s_own_layers_hold(name, tp, pp, stage, expected):
    assert stage_weight_bytes(read_shapes(config(name)), tp=tp, pp=pp, stage=stage) == expected


def test_layers_that_do_not_divide_go_before_the_last_stage():
    assert stage_layers(80, 1) == (80,)
    assert stage_layers(126, 4) == (31, 32, 32, 31)
    assert stage_layers(7, 2) == (4, 3)
    assert stage_layers(7, 3) == (2, 3, 2)


def test_stages_always_add_up():
    for layers in range(1, 130):
        for pp in range(1, layers + 1):
            stages = stage_layers(layers, pp)
            assert sum(stages) == layers
            assert max(stages) - min(stages) <= 1


def test_more_ranks_never_hold_more_each_and_never_less_together():
    shapes = read_shapes(config("llama-70b"))
    alone = stage_weight_bytes(shapes, tp=1, pp=1, stage=0)
    previous = alone
    for tp in (2, 4, 8, 16, 32, 64):
        each = stage_weight_bytes(shapes, tp=tp, pp=1, stage=0)
        assert each < previous
        assert each * tp >= alone
        previous = each
