"""Are a config's shapes read as they are, and is everything not understood refused by name?"""

from __future__ import annotations

import pytest

from diag.planner.shapes import read_shapes
from diag.planner.unknown import NotKnown
from tests.planner.clusters import CONFIGS, config


def test_head_dim_is_read_where_present_not_derived():
    assert read_shapes(config("qwen3-32b")).head_dim == 128  # 5120 / 64 would be 80
    assert read_shapes(config("llama-8b")).head_dim == 4096 // 32


def test_without_num_key_value_heads_every_head_has_its_own():
    assert read_shapes(config("llama-8b", num_key_value_heads=None)).kv_heads == 32


def test_biases_and_norms_follow_the_family_and_the_config():
    assert read_shapes(config("qwen2-7b")).qkv_bias
    assert not read_shapes(config("qwen2-7b")).o_bias
    assert read_shapes(config("qwen3-8b")).qk_norm
    assert not read_shapes(config("llama-8b")).qkv_bias
    assert read_shapes(config("llama-8b", attention_bias=True)).o_bias
    assert read_shapes(config("llama-8b", mlp_bias=True)).mlp_bias


def test_an_expert_model_has_the_size_of_one_expert():
    shapes = read_shapes(config("qwen3-30b-a3b"))
    assert (shapes.experts, shapes.experts_per_token, shapes.intermediate) == (128, 8, 768)


def test_a_window_that_is_switched_off_is_full_attention():
    assert read_shapes(config("qwen2-7b")).layers == 28
    assert read_shapes(config("qwen3-8b", layer_types=["full_attention"] * 36)).layers == 36


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("llama-8b", {"model_type": "deepseek_v3"}, "deepseek_v3"),
        ("llama-8b", {"model_type": None}, "None"),
        ("llama-8b", {"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ("mistral-7b", {"sliding_window": 4096}, "sliding_window 4096"),
        ("qwen2-7b", {"use_sliding_window": True}, "sliding_window"),
        ("qwen3-8b", {"layer_types": ["full_attention", "sliding_attention"]}, "sliding_attention"),
        ("llama-8b", {"kv_lora_rank": 512}, "kv_lora_rank"),
        ("llama-8b", {"vision_config": {"hidden_size": 1}}, "vision_config"),
        ("llama-8b", {"quantization_config": {"quant_method": "awq"}}, "quantization awq"),
        ("llama-8b", {"quantization_config": {"quant_algo": "FP8"}}, "quantization FP8"),
        ("llama-8b", {"torch_dtype": "float32"}, "float32"),
        ("llama-8b", {"torch_dtype": None}, "torch_dtype None"),
        ("llama-8b", {"num_hidden_layers": None}, "num_hidden_layers"),
        ("llama-8b", {"num_hidden_layers": "32"}, "'32'"),
        ("llama-8b", {"hidden_size": 0}, "hidden_size"),
        ("llama-8b", {"num_attention_heads": 7}, "head_dim"),
        ("qwen3-30b-a3b", {"decoder_sparse_step": 2}, "decoder_sparse_step"),
        ("qwen3-30b-a3b", {"mlp_only_layers": [0]}, "mlp_only_layers"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_by_name(name, changes, named):
    with pytest.raises(NotKnown, match=named.replace("(", r"\(")):
        read_shapes(config(name, **changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "not json", '{"model_type": "llama"}'])
def test_a_text_that_is_no_config_is_refused_without_a_traceback(text):
    with pytest.raises(NotKnown):
        read_shapes(text)


def test_infinity_as_published_configs_spell_it_is_read():
    text = config("llama-8b").replace("{", '{"time_step_limit": [0.0, Infinity], ', 1)
    assert read_shapes(text).layers == 32


@pytest.mark.parametrize("name", CONFIGS)
def test_every_known_config_is_understood(name):
    assert read_shapes(config(name)).layers > 0
