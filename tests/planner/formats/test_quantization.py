"""Which weights has a quantized checkpoint quantized, and how? Expected is what vLLM 0.32 creates for such configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from diag.planner.model.architecture import Architecture, Layer, Weight
from diag.planner.model.formats.quantization import quantize
from diag.planner.unknown import NotKnown

ROUTER = Weight(name="mlp.gate", rows=8, columns=256, linear=False)
DENSE = (
    Weight(name="self_attn.q_proj", rows=256, columns=256, shard="rows"),
    Weight(name="self_attn.k_proj", rows=128, columns=256, shard="rows"),
    Weight(name="self_attn.v_proj", rows=128, columns=256, shard="rows"),
    Weight(name="self_attn.o_proj", rows=256, columns=256, shard="columns"),
)
MLP = (
    Weight(name="mlp.gate_proj", rows=512, columns=256, shard="rows"),
    Weight(name="mlp.up_proj", rows=512, columns=256, shard="rows"),
    Weight(name="mlp.down_proj", rows=256, columns=512, shard="columns"),
)
EXPERTS = (
    ROUTER,
    Weight(name="mlp.experts.0.gate_proj", rows=128, columns=256, count=8, expert=True),
    Weight(name="mlp.experts.0.down_proj", rows=256, columns=128, count=8, expert=True),
    Weight(name="mlp.shared_experts.down_proj", rows=256, columns=128),
)


def model(**changes: Any) -> Architecture:
    """A dense layer 0 and layers 1 and 10 with experts, which share one tuple of weights."""
    sparse = (*DENSE, *EXPERTS)
    given: dict[str, Any] = {
        "name": "AForCausalLM",
        "model_type": "a",
        "layers": (
            Layer(prefix="model.layers.0", weights=(*DENSE, *MLP)),
            Layer(prefix="model.layers.1", weights=sparse),
            Layer(prefix="model.layers.10", weights=sparse),
        ),
        "first": (
            Weight(name="visual.blocks.0.attn.qkv", rows=96, columns=32),
            Weight(name="model.embed_tokens", rows=512, columns=256, shard="vocab", linear=False),
        ),
        "last": (Weight(name="lm_head", rows=512, columns=256, shard="vocab"),),
        "hidden": 256,
        "heads": 2,
        "kv_heads": 1,
        "inner": 512,
        "vocab": 512,
        "max_len": 4096,
        "dtype": "bfloat16",
    }
    return Architecture(**{**given, **changes})


def formats(
    keys: Mapping[str, Any], hf_quant: Mapping[str, Any] | None = None, **config: Any
) -> dict[str, tuple[str, tuple[int, int]]]:
    """Full name -> name and block of the format, of all weights that have one."""
    read = quantize(model(), {"quantization_config": keys, **config} if keys else config, hf_quant)
    weights = {f"{layer.prefix}.{weight.name}": weight for layer in read.layers for weight in layer.weights}
    weights |= {weight.name: weight for weight in (*read.first, *read.last)}
    return {name: (w.format.name, w.format.block) for name, w in weights.items() if w.format}


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


def test_a_config_without_quantization_leaves_the_architecture_as_it_is():
    plain = model()
    assert quantize(plain, {"model_type": "a"}) is plain


def test_fp8_quantizes_every_linear_layer_but_head_and_router():
    names = formats(FP8)
    assert set(names.values()) == {("fp8_block", (128, 128))}
    assert "lm_head" not in names
    assert "model.layers.1.mlp.gate" not in names
    assert "model.embed_tokens" not in names
    assert "model.layers.1.mlp.experts.0.gate_proj" in names


def test_fp8_without_blocks_has_one_scale_a_matrix_and_a_static_one_for_its_inputs():
    read = quantize(model(), {"quantization_config": {"quant_method": "fp8", "activation_scheme": "static"}})
    form = read.layers[0].weights[0].format
    assert form is not None
    assert (form.name, form.block, form.scale_bytes, form.extra_bytes) == ("fp8", (0, 0), 4, 4)


def test_layers_with_the_same_weights_share_them_again():
    read = quantize(model(), {"quantization_config": FP8})
    assert read.layers[1].weights is read.layers[2].weights
    assert read.layers[0].weights is not read.layers[1].weights


def test_a_layer_that_is_ignored_differs_from_its_like():
    names = formats({**FP8, "modules_to_not_convert": ["model.layers.1"]})
    assert "model.layers.1.self_attn.q_proj" not in names
    assert "model.layers.10.self_attn.q_proj" in names


def test_what_text_config_says_does_not_concern_the_vision_tower():
    names = formats({}, text_config={"quantization_config": FP8})
    assert "visual.blocks.0.attn.qkv" not in names
    assert "model.layers.0.mlp.up_proj" in names
    assert "visual.blocks.0.attn.qkv" in formats(FP8)


def test_deepseek_v4_means_fp4_experts_and_small_scales_by_fp8():
    read = quantize(model(), {"model_type": "deepseek_v4", "expert_dtype": "fp4", "quantization_config": FP8})
    forms = {weight.name: weight.format for weight in read.layers[1].weights}
    assert forms["mlp.experts.0.gate_proj"].name == "mxfp4"
    assert (forms["mlp.shared_experts.down_proj"].name, forms["self_attn.q_proj"].scale_bytes) == ("fp8_block", 1)


def test_deepseek_v4_of_modelopt_has_nvfp4_experts():
    names = formats({**FP8, "moe_quant_algo": "NVFP4"}, model_type="deepseek_v4")
    assert names["model.layers.1.mlp.experts.0.gate_proj"] == ("nvfp4", (1, 16))
    assert names["model.layers.1.self_attn.q_proj"] == ("fp8_block", (128, 128))


def test_mxfp4_of_gpt_oss_is_for_experts_only():
    names = formats({"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]})
    assert set(names) == {
        f"model.layers.{layer}.mlp.experts.0.{name}" for layer in (1, 10) for name in ("gate_proj", "down_proj")
    }


def test_awq_has_a_scale_and_a_zero_point_for_each_group():
    keys = {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 128,
        "zero_point": True,
        "modules_to_not_convert": ["visual"],
    }
    read = quantize(model(), {"quantization_config": keys})
    form = read.layers[0].weights[0].format
    assert form is not None
    assert (form.name, form.bits, form.block, form.scale_bytes, form.zero_bits) == ("awq", 4, (1, 128), 2, 4)
    assert "visual.blocks.0.attn.qkv" not in formats(keys)


def test_a_symmetric_gptq_holds_no_zero_points():
    keys = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True, "lm_head": False}
    form = quantize(model(), {"quantization_config": keys}).layers[0].weights[0].format
    assert form is not None
    assert form.zero_bits == 0
    other = quantize(model(), {"quantization_config": {**keys, "sym": False}}).layers[0].weights[0].format
    assert other is not None
    assert other.zero_bits == 4


def test_dynamic_rules_of_gptq_change_or_leave_out_modules():
    keys = {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 128,
        "dynamic": {r"+:.*\.down_proj": {"bits": 8, "group_size": 32}, r"-:.*self_attn": {}},
    }
    names = formats(keys)
    assert names["model.layers.0.mlp.down_proj"] == ("gptq", (1, 32))
    assert names["model.layers.0.mlp.up_proj"] == ("gptq", (1, 128))
    assert "model.layers.0.self_attn.q_proj" not in names


def test_auto_round_keeps_what_its_extra_config_gives_16_bits():
    keys = {
        "quant_method": "auto-round",
        "bits": 4,
        "group_size": 128,
        "sym": True,
        "packing_format": "auto_round:auto_gptq",
        "extra_config": {"model.layers.0.mlp.up_proj": {"bits": 16}},
    }
    names = formats(keys)
    assert "model.layers.0.mlp.up_proj" not in names
    assert names["model.layers.0.mlp.down_proj"] == ("gptq", (1, 128))


def test_bitsandbytes_in_4_bit_has_a_scale_for_64():
    names = formats(
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "llm_int8_skip_modules": ["lm_head", "visual"]}
    )
    assert set(names.values()) == {("bnb4", (1, 64))}
    assert "lm_head" not in names


def test_the_head_is_quantized_where_the_config_says_so():
    assert formats({"quant_method": "awq", "bits": 4, "group_size": 128, "lm_head": True})["lm_head"][0] == "awq"


@pytest.mark.parametrize("method", ["quark", "torchao", "exl3", "gguf", "aqlm"])
def test_a_method_that_is_not_known_is_named(method):
    with pytest.raises(NotKnown, match=method):
        formats({"quant_method": method})


def test_a_bad_value_is_named_with_its_key():
    with pytest.raises(NotKnown, match="group_size: found 'many', expected a whole number"):
        formats({"quant_method": "awq", "bits": 4, "group_size": "many"})


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"kv_cache_quant_algo": "FP8"}, "fp8"),
        ({"kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"}}, "fp8"),
        ({"kv_cache_scheme": {"dynamic": False, "num_bits": 4, "type": "float"}}, "nvfp4"),
        ({"kv_cache_scheme": None}, None),
        ({}, None),
    ],
)
def test_the_kv_cache_is_what_the_checkpoint_asks_for(keys, expected):
    read = quantize(model(), {"quantization_config": {**FP8, **keys}})
    assert read.quantization is not None
    assert read.quantization.kv_cache_dtype == expected


def test_another_kv_cache_scheme_is_not_known():
    with pytest.raises(NotKnown, match="KV cache quantized as"):
        formats({**FP8, "kv_cache_scheme": {"num_bits": 3, "type": "int"}})
