"""Methods of quantization that few checkpoints have, and what their configs may say wrongly."""

from __future__ import annotations

import pytest

from diag.planner.model.formats.quantization import quantize
from diag.planner.unknown import NotKnown
from tests.planner.formats.test_quantization import FP8, formats, model

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
LAYERS = [f"model.layers.{layer}" for layer in (0, 1, 10)]


@pytest.mark.parametrize(
    ("keys", "form"),
    [
        ({"quant_method": "fbgemm_fp8"}, ("fp8", (1, 0))),
        ({"quant_method": "mxfp8"}, ("mxfp8", (1, 32))),
        ({"quant_method": "w8a8_int8"}, ("int8", (1, 0))),
        ({"quant_method": "blockwise_int8", "weight_block_size": [64, 64]}, ("int8_block", (64, 64))),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, ("bnb8", (1, 0))),
        ({"quant_method": "fp8", "weight_block_size": [128, 64]}, ("fp8_block", (128, 64))),
    ],
)
def test_a_method_quantizes_every_linear_layer_but_the_head(keys, form):
    names = formats(keys)
    assert set(names.values()) == {form}
    assert "lm_head" not in names
    assert {f"{layer}.self_attn.q_proj" for layer in LAYERS} <= set(names)


def test_deepseek_v4_may_have_experts_in_8_bits():
    names = formats(FP8, model_type="deepseek_v4", expert_dtype="fp8")
    assert set(names.values()) == {("fp8_block", (128, 128))}
    with pytest.raises(NotKnown, match="expert_dtype 'int2' of DeepSeek-V4"):
        formats(FP8, model_type="deepseek_v4", expert_dtype="int2")
    with pytest.raises(NotKnown, match="of DeepSeek-V4"):
        formats(FP8, model_type="deepseek_v4", expert_dtype={})


@pytest.mark.parametrize(
    "chosen",
    [
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        [["self_attn.q_proj", "self_attn.k_proj"], ["self_attn.v_proj"]],
    ],
)
def test_gptq_may_quantize_what_it_names_alone(chosen):
    names = formats({**GPTQ, "modules_in_block_to_quantize": chosen})
    assert set(names) == {f"{layer}.self_attn.{name}_proj" for layer in LAYERS for name in "qkv"}


def test_gptq_may_quantize_the_head():
    assert formats({**GPTQ, "lm_head": True})["lm_head"] == ("gptq", (1, 128))
    assert "lm_head" not in formats(GPTQ)


def test_one_scale_a_row_is_spelled_minus_one():
    assert formats({**GPTQ, "group_size": -1})["model.layers.0.mlp.up_proj"] == ("gptq", (1, 0))


def test_awq_of_older_tools_has_other_keys():
    old = {"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "zero_point": False}
    form = quantize(model(), {"quantization_config": old}).layers[0].weights[0].format
    assert form is not None
    assert (form.bits, form.block, form.zero_bits) == (4, (1, 64), 0)


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"quant_method": "bitsandbytes"}, "load_in_4bit: found 'None', expected it or load_in_8bit to be true"),
        ({"quant_method": "blockwise_int8"}, "weight_block_size: found 'None', expected rows and columns of a block"),
        ({**FP8, "weight_block_size": [128]}, "expected rows and columns of a block"),
        ({**FP8, "weight_block_size": [128, 0]}, "expected rows and columns of a block"),
        ({**FP8, "activation_scheme": 1}, "activation_scheme: found '1', expected a word"),
        (
            {**FP8, "modules_to_not_convert": "lm_head"},
            "modules_to_not_convert: found 'lm_head', expected a list of names",
        ),
        ({**GPTQ, "dynamic": ["x"]}, "dynamic: found .* expected rules by pattern"),
        ({**GPTQ, "sym": "yes"}, "sym: found 'yes', expected true or false"),
        ({**GPTQ, "bits": True}, "bits: found 'True', expected a whole number"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128, "data_type": "mx_fp"}, "data_type 'mx_fp'"),
        ({"quant_method": "compressed-tensors", "config_groups": {}}, "config_groups: found '{}'"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "quantized_layers: found 'None'"),
    ],
)
def test_what_a_config_says_wrongly_is_named(keys, why):
    with pytest.raises(NotKnown, match=why):
        formats(keys)


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ({"num_bits": 8, "type": "float", "strategy": "block"}, "float 8 bits by block, block None"),
        ({"num_bits": 4, "type": "float", "strategy": "group", "group_size": 64}, "float 4 bits in groups of 64"),
        ({"num_bits": 2, "type": "float", "strategy": "tensor"}, "weights of float 2 bits by tensor"),
        (None, "group without weights"),
    ],
)
def test_a_scheme_of_compressed_tensors_that_is_not_known_is_described(weights, why):
    group = {"weights": weights, "targets": ["Linear"]}
    with pytest.raises(NotKnown, match=why):
        formats({"quant_method": "compressed-tensors", "config_groups": {"group_0": group}})


@pytest.mark.parametrize("block", [[128, 128], "128x128"])
def test_a_block_is_two_numbers_or_their_product(block):
    weights = {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": block}
    group = {"weights": weights, "input_activations": {"dynamic": True}, "targets": ["Linear"]}
    found = formats({"quant_method": "compressed-tensors", "config_groups": {"group_0": group}})
    assert set(found.values()) == {("fp8_block", (128, 128))}


def test_groups_of_attention_are_about_the_cache():
    linear = {"weights": {"num_bits": 8, "type": "float", "strategy": "channel"}, "targets": ["Linear"]}
    cache = {"weights": None, "targets": ["LlamaAttention"]}
    found = formats({"quant_method": "compressed-tensors", "config_groups": {"a": linear, "b": cache}})
    assert set(found.values()) == {("fp8", (1, 0))}
