"""ModelOpt's and compressed-tensors' words: algorithms, groups of targets, mixed precision."""

from __future__ import annotations

import pytest

from diag.planner.model.formats.quantization import quantize
from diag.planner.unknown import NotKnown
from tests.planner.formats.test_quantization import formats, model

HF_QUANT = {
    "producer": {"name": "modelopt", "version": "0.33.0"},
    "quantization": {
        "quant_algo": "NVFP4",
        "kv_cache_quant_algo": "FP8",
        "group_size": 16,
        "exclude_modules": ["lm_head", "model.layers.0*", "model.layers.1.self_attn*", "model.layers.10.mlp.gate"],
    },
}


def test_hf_quant_config_counts_where_config_json_says_nothing():
    names = formats({}, HF_QUANT)
    assert "model.layers.0.mlp.up_proj" not in names
    assert "model.layers.1.self_attn.q_proj" not in names
    assert names["model.layers.10.self_attn.q_proj"] == ("nvfp4", (1, 16))
    assert "lm_head" not in names
    read = quantize(model(), {}, HF_QUANT)
    assert read.quantization is not None
    assert (read.quantization.method, read.quantization.kv_cache_dtype) == ("modelopt_fp4", "fp8")
    assert not read.quantization.unnamed


def test_modelopt_quantizes_the_head_unless_it_is_listed():
    keys = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["visual*"]}
    assert formats(keys)["lm_head"] == ("nvfp4", (1, 16))


def test_a_config_that_names_no_method_is_marked():
    keys = {"quant_algo": "FP8", "ignore": ["lm_head"], "producer": {"name": "modelopt"}, "kv_cache_scheme": "FP8"}
    read = quantize(model(), {"quantization_config": keys})
    assert read.quantization is not None
    assert (read.quantization.method, read.quantization.unnamed) == ("modelopt", True)
    assert read.quantization.kv_cache_dtype == "fp8"


def test_nvfp4_without_a_list_of_what_is_left_alone_is_not_known():
    with pytest.raises(NotKnown, match="exclude_modules") as raised:
        formats({}, {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}})
    assert raised.value.lever


def test_old_fp8_of_modelopt_left_the_head_alone():
    old = {"producer": {"name": "modelopt", "version": "0.13.0"}, "quantization": {"quant_algo": "FP8"}}
    names = formats({}, old)
    assert "lm_head" not in names
    assert names["model.layers.0.mlp.up_proj"] == ("fp8", (0, 0))


def test_nvfp4_that_quantizes_no_inputs_is_weight_only():
    groups = {"group_0": {"input_activations": None, "weights": {"num_bits": 4}, "targets": ["Linear"]}}
    keys = {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"], "config_groups": groups}
    assert formats(keys)["model.layers.0.mlp.up_proj"] == ("nvfp4a16", (1, 16))


def test_an_algorithm_that_is_not_known_is_named():
    with pytest.raises(NotKnown, match="W4A8_AWQ"):
        formats({"quant_method": "modelopt", "quant_algo": "W4A8_AWQ", "ignore": []})


def test_mixed_precision_is_what_its_layers_say_and_nothing_else():
    keys = {
        "quant_method": "modelopt",
        "quant_algo": "MIXED_PRECISION",
        "exclude_modules": ["model.layers.10*"],
        "quantized_layers": {
            "model.language_model.layers.0.self_attn.q_proj": {"quant_algo": "FP8"},
            "language_model.model.layers.1.mlp.experts": {"quant_algo": "W4A16_NVFP4", "group_size": 16},
            "model.layers.10.mlp.experts.0.gate_proj": {"quant_algo": "NVFP4"},
            "lm_head": {"quant_algo": "MXFP8"},
        },
    }
    assert formats(keys) == {
        "model.layers.0.self_attn.q_proj": ("fp8", (0, 0)),
        "model.layers.1.mlp.experts.0.gate_proj": ("nvfp4a16", (1, 16)),
        "model.layers.1.mlp.experts.0.down_proj": ("nvfp4a16", (1, 16)),
        "lm_head": ("mxfp8", (1, 32)),
    }


def compressed(weights, *, inputs=None, targets=("Linear",), ignore=("lm_head",)):
    group = {"weights": weights, "input_activations": inputs, "targets": list(targets)}
    return {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": group},
        "ignore": list(ignore),
    }


@pytest.mark.parametrize(
    ("weights", "inputs", "expected"),
    [
        ({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}, None, ("int4_weights", (1, 32))),
        ({"num_bits": 8, "type": "int", "strategy": "channel"}, None, ("int8_weights", (1, 0))),
        ({"num_bits": 8, "type": "int", "strategy": "channel"}, {"num_bits": 8, "dynamic": True}, ("int8", (1, 0))),
        ({"num_bits": 8, "type": "float", "strategy": "tensor"}, {"dynamic": False}, ("fp8", (0, 0))),
        ({"num_bits": 8, "type": "float", "strategy": "channel"}, {"dynamic": True}, ("fp8", (1, 0))),
        (
            {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]},
            {"dynamic": True},
            ("fp8_block", (128, 128)),
        ),
        ({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}, {}, ("nvfp4", (1, 16))),
        ({"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}, None, ("mxfp4", (1, 32))),
    ],
)
def test_a_scheme_of_compressed_tensors_becomes_a_format(weights, inputs, expected):
    assert formats(compressed(weights, inputs=inputs))["model.layers.0.mlp.up_proj"] == expected


def test_a_scheme_that_is_not_known_is_described():
    with pytest.raises(NotKnown, match="int 4 bits by tensor"):
        formats(compressed({"num_bits": 4, "type": "int", "strategy": "tensor"}))


def test_a_named_target_counts_before_a_class():
    int4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
    int8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
    keys = compressed(int4)
    keys["config_groups"]["group_1"] = {"weights": int8, "targets": ["re:.*self_attn.*"]}
    names = formats(keys)
    assert names["model.layers.0.self_attn.q_proj"] == ("int8_weights", (1, 0))
    assert names["model.layers.0.mlp.up_proj"] == ("int4_weights", (1, 128))


def test_the_head_is_no_linear_layer_unless_it_is_named():
    int4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
    assert "lm_head" not in formats(compressed(int4, ignore=()))
    assert "lm_head" in formats(compressed(int4, ignore=(), targets=("Linear", "re:.*lm_head")))


def test_patterns_of_kimi_leave_all_but_routed_experts_alone():
    int4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}
    ignore = ("lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", r"re:.*mlp\.(gate|up|gate_up|down)_proj.*")
    names = formats(compressed(int4, ignore=(*ignore, "visual")))
    assert {name.rsplit(".", 1)[0] for name in names} == {f"model.layers.{layer}.mlp.experts.0" for layer in (1, 10)}
