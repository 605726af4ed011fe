"""Keys of a config: what counts as said, and how long a context it promises."""

from __future__ import annotations

import pytest

from diag.planner.model.families.config import Config
from diag.planner.model.families.lengths import longest_context
from diag.planner.unknown import NotKnown


def test_null_is_as_good_as_absent():
    config = Config({"head_dim": None})
    assert not config.has("head_dim")
    assert config.count("head_dim", 128) == 128


@pytest.mark.parametrize("value", [True, "8", 8.0, 0, -1])
def test_a_count_is_an_integer_of_at_least_one(value):
    with pytest.raises(NotKnown, match=f"heads in config.json: found '{value}', expected an integer of at least 1"):
        Config({"heads": value}).count("heads")


def test_a_default_may_be_less_than_what_may_be_said():
    assert Config({}).count("experts", 0) == 0


def test_a_missing_key_is_named_with_where_it_is():
    with pytest.raises(NotKnown, match=r"text_config\.layers in config.json: found 'None'"):
        Config({"text_config": {"a": 1}}).sub("text_config").count("layers")


def test_one_number_stands_for_all_layers():
    assert Config({"n": 3}).counts("n", length=2) == (3, 3)
    assert Config({"n": [1, 2, 9]}).counts("n", length=2) == (1, 2)
    with pytest.raises(NotKnown, match="3 integers"):
        Config({"n": [1, 2]}).counts("n", length=3)


@pytest.mark.parametrize(
    ("said", "loaded", "stored"),
    [
        ({"torch_dtype": "float16"}, "float16", "float16"),
        ({"dtype": "torch.bfloat16"}, "bfloat16", "bfloat16"),
        ({"torch_dtype": "float32"}, "bfloat16", "float32"),
        ({}, "bfloat16", None),
    ],
)
def test_engines_load_32_bit_and_what_does_not_say_in_16(said, loaded, stored):
    assert (Config(said).dtype(), Config(said).stored_dtype()) == (loaded, stored)


LENGTH = {"max_position_embeddings": 4096}


@pytest.mark.parametrize(
    ("keys", "tokens"),
    [
        (LENGTH, 4096),
        ({**LENGTH, "seq_length": 2048}, 2048),
        ({**LENGTH, "model_max_length": 100_000}, 100_000),
        ({**LENGTH, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16_384),
        ({**LENGTH, "rope_scaling": {"rope_type": "dynamic", "factor": 2}}, 8192),
        ({**LENGTH, "rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 4096),
        ({**LENGTH, "rope_scaling": {"type": "longrope", "factor": 32}}, 4096),
        ({**LENGTH, "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 4096}}, 16_384),
        ({**LENGTH, "rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 512}}, 4096),
        ({**LENGTH, "rope_scaling": {"type": "yarn", "factor": 4}}, 4096),
        ({**LENGTH, "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8}}}, 32_768),
    ],
)
def test_a_context_is_the_shortest_that_is_said_times_what_scales_it(keys, tokens):
    assert longest_context(Config(keys)) == tokens


@pytest.mark.parametrize(
    ("value", "ask", "expected"),
    [
        ({}, lambda config: config.number("n"), "a number"),
        ({}, lambda config: config.flag("n"), "true or false"),
        ({}, lambda config: config.counts("n", length=1), "1 integers"),
        ([-1], lambda config: config.counts("n", length=1), "integers of at least 0"),
        (7, lambda config: config.text("n"), "a text"),
        (7, lambda config: config.list("n"), "a list"),
        (7, lambda config: config.sub("n"), "an object"),
    ],
)
def test_a_value_of_another_kind_is_named_with_what_was_expected(value, ask, expected):
    with pytest.raises(NotKnown) as why:
        ask(Config({"n": value}))
    assert str(why.value) == f"n in config.json: found '{value}', expected {expected}"


def test_a_default_stands_for_a_length_that_is_not_said():
    assert longest_context(Config({}), 2048) == 2048
    with pytest.raises(NotKnown, match="max_position_embeddings"):
        longest_context(Config({}))


@pytest.mark.parametrize("key", ["num_hidden_layers", "num_nextn_predict_layers", "n_layer"])
def test_more_layers_than_any_model_has_are_not_counted(key):
    assert Config({key: 10_000}).count(key) == 10_000
    with pytest.raises(NotKnown, match="expected at most 10000"):
        Config({key: 10**9}).count(key)


@pytest.mark.parametrize("kind", ["linear", "dynamic", "yarn"])
@pytest.mark.parametrize("factor", [float("inf"), float("nan"), 0, -2.0, "2", True])
def test_a_factor_that_scales_nothing_is_named(kind, factor):
    rope = {"rope_type": kind, "factor": factor, "original_max_position_embeddings": 4096}
    with pytest.raises(NotKnown, match=f"factor of the rope scaling in config.json: found '{factor}'"):
        longest_context(Config({"max_position_embeddings": 4096, "rope_scaling": rope}))


@pytest.mark.parametrize(("kind", "why"), [(["yarn"], "expected a text"), ("sorcery", "the planner knows default, su")])
def test_a_scaling_that_no_engine_knows_is_named(kind, why):
    with pytest.raises(NotKnown, match=why):
        longest_context(Config({"max_position_embeddings": 4096, "rope_scaling": {"type": kind, "factor": 2}}))


@pytest.mark.parametrize("rope", [{}, {"rope_type": None}, {"rope_type": "default", "factor": None}])
def test_a_scaling_that_says_nothing_scales_nothing(rope):
    assert longest_context(Config({"max_position_embeddings": 4096, "rope_scaling": rope})) == 4096
