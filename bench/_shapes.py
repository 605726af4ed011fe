"""Which ``config.json`` does the shape of a logged model stand for?

A shape has the facts that configs share. What a family fixes beside them is in the table; where a shape leaves too much
open, the published config of that model is taken from the folder beside the cases, if it is there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from diag.planner.model.catalogue import bundled, names

Json = Mapping[str, Any]


class Kin(msgspec.Struct, frozen=True, kw_only=True):
    """Models whose ``model_shape`` matches ``named``: what their configs say beside the shape."""

    named: str
    model_type: str
    architecture: str
    more: Json = {}
    published: str = ""
    """Take this published config whole."""


def _gdn(value_heads: int) -> Json:
    return {
        "linear_num_key_heads": 16, "linear_num_value_heads": value_heads, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "full_attention_interval": 4,
        "attn_output_gate": True, "mamba_ssm_dtype": "float32",
    }  # fmt: skip


QWEN3_NEXT = {**_gdn(32), "shared_expert_intermediate_size": 512, "decoder_sparse_step": 1, "mlp_only_layers": []}
DEEPSEEK = {"moe_layer_freq": 1, "scoring_func": "sigmoid", "topk_method": "noaux_tc", "n_group": 8, "topk_group": 4}
MLA_LAYERS = (4, 8, 12, 16, 20, 24, 27)
KIMI_LINEAR = {
    "linear_attn_config": {
        "full_attn_layers": list(MLA_LAYERS), "kda_layers": [n for n in range(1, 28) if n not in MLA_LAYERS],
        "head_dim": 128, "num_heads": 32, "short_conv_kernel_size": 4,
    },
    "q_lora_rank": None, "mla_use_nope": True, "moe_layer_freq": 1, "num_experts_per_token": 8, "num_shared_experts": 1,
    "moe_renormalize": True,
}  # fmt: skip
GEMMA2 = {"sliding_window": 4096, "query_pre_attn_scalar": 256}
KINS: Sequence[Kin] = (
    Kin(named=r"Qwen/Qwen1\.5-|Qwen/Qwen2\.5-", model_type="qwen2", architecture="Qwen2ForCausalLM"),
    Kin(named=r"Qwen/Qwen3-Next", model_type="qwen3_next", architecture="Qwen3NextForCausalLM", more=QWEN3_NEXT),
    Kin(named=r"Qwen/Qwen3-\d+B-A\d+B", model_type="qwen3_moe", architecture="Qwen3MoeForCausalLM"),
    Kin(named=r"Qwen/Qwen3-", model_type="qwen3", architecture="Qwen3ForCausalLM"),
    Kin(named=r"Qwen/Qwen3\.[5-8]-27B", model_type="", architecture="", published="Qwen__Qwen3.5-27B"),
    Kin(named=r"Qwen/Qwen3\.[5-8]-35B-A3B", model_type="", architecture="", published="Qwen__Qwen3.5-35B-A3B"),
    Kin(named=r"Qwen/Qwen3\.5-9B", model_type="qwen3_5_text", architecture="Qwen3_5ForCausalLM", more=_gdn(32)),
    Kin(named=r"DeepSeek-V2", model_type="deepseek_v2", architecture="DeepseekV2ForCausalLM",
        more={**DEEPSEEK, "scoring_func": "softmax", "topk_method": "group_limited_greedy"}),
    Kin(named=r"DeepSeek-V3\.2", model_type="", architecture="", published="deepseek-ai__DeepSeek-V3.2"),
    Kin(named=r"DeepSeek-V3", model_type="", architecture="", published="deepseek-ai__DeepSeek-V3"),
    Kin(named=r"DeepSeek-V4-Flash", model_type="", architecture="", published="deepseek-ai__DeepSeek-V4-Flash"),
    Kin(named=r"zai-org/GLM-5", model_type="", architecture="", published="zai-org__GLM-5"),
    Kin(named=r"zai-org/GLM-4\.7-Flash", model_type="glm4_moe_lite", architecture="Glm4MoeLiteForCausalLM",
        more={**DEEPSEEK, "n_group": 1, "topk_group": 1}),
    Kin(named=r"moonshotai/Kimi-K2", model_type="", architecture="", published="moonshotai__Kimi-K2.5"),
    Kin(named=r"Kimi-Linear", model_type="kimi_linear", architecture="KimiLinearForCausalLM", more=KIMI_LINEAR),
    Kin(named=r"MiniMax-M2", model_type="", architecture="", published="MiniMaxAI__MiniMax-M2.5"),
    Kin(named=r"google/gemma-7b", model_type="gemma", architecture="GemmaForCausalLM"),
    Kin(named=r"google/gemma-2-", model_type="gemma2", architecture="Gemma2ForCausalLM", more=GEMMA2),
    Kin(named=r"google/gemma-3-", model_type="gemma3_text", architecture="Gemma3ForCausalLM",
        more={"sliding_window_pattern": 6}),
    Kin(named=r"google/gemma-4-31b", model_type="", architecture="", published="nvidia__Gemma-4-31B-IT-NVFP4"),
    Kin(named=r"mistralai/Mistral-7B", model_type="mistral", architecture="MistralForCausalLM"),
    Kin(named=r"microsoft/Phi-3-mini", model_type="phi3", architecture="Phi3ForCausalLM"),
    Kin(named=r"meta-llama/|deepseek-coder-6\.7b", model_type="llama", architecture="LlamaForCausalLM"),
    Kin(named=r"facebook/opt", model_type="opt", architecture="OPTForCausalLM"),
    Kin(named=r"internlm/internlm-", model_type="internlm", architecture="InternLMForCausalLM",
        more={"bias": True}),
)  # fmt: skip

PLAIN_KINDS: Mapping[tuple[str | None, bool], tuple[str, str, Json]] = {
    ("gqa", False): ("llama", "LlamaForCausalLM", {}),
    ("mha", False): ("llama", "LlamaForCausalLM", {}),
    ("gqa", True): ("qwen3_moe", "Qwen3MoeForCausalLM", {"decoder_sparse_step": 1, "mlp_only_layers": []}),
    ("mla", True): ("deepseek_v3", "DeepseekV3ForCausalLM", DEEPSEEK),
}
"""Biases and norms of other families are less than a thousandth of their weights."""
NO_SHAPE_OF_ITS_OWN = (
    "head_dim", "sliding_pattern", "full_attention_layers", "params_b", "attention_kind", "n_routed_experts",
)  # fmt: skip
EXPERTS = {"qwen3_moe": "num_experts", "qwen3_next": "num_experts", "kimi_linear": "num_experts"}


def config_of(model: str, name: str, shape: Json, models: Path) -> dict[str, Any] | str:
    """The config, or in one line why there is none. ``name`` of the shape; ``model`` that was served.

    What was served has more than its shape where that is of the language model alone.
    """
    published = _published(model.replace("/", "__"), models) if "-VL-" in model else None
    if published is not None:
        return dict(published)
    named = next((kin for kin in KINS if re.search(kin.named, name)), None)
    if named is None and name in names():
        return dict(bundled(name).config)
    kin = named or _of_its_kind(shape)
    if kin is None:
        return "family of the shape has no config here"
    if kin.published:
        published = _published(kin.published, models)
        if published is None:
            return "the shape leaves layers open and the published config is not here"
        return {key: value for key, value in published.items() if key != "quantization_config" or _native(name)}
    return {
        "model_type": kin.model_type,
        "architectures": [kin.architecture],
        "torch_dtype": "bfloat16",
        **{key: value for key, value in shape.items() if key not in NO_SHAPE_OF_ITS_OWN},
        **_renamed(kin.model_type, shape),
        **kin.more,
    }


def _published(name: str, models: Path) -> Json | None:
    """As the folder has it, or else as it is bundled."""
    path = models / f"{name}_config.json"
    if path.exists():
        found: Json = json.loads(path.read_text())
        return found
    plain = name.replace("__", "/")
    return bundled(plain).config if plain in names() else None


def _of_its_kind(shape: Json) -> Kin | None:
    """Of a model that no row names: what its kind of attention and its experts settle, if they settle it."""
    key = (shape.get("attention_kind"), "n_routed_experts" in shape)
    found = PLAIN_KINDS.get(key)
    return None if found is None else Kin(named="", model_type=found[0], architecture=found[1], more=found[2])


def _native(name: str) -> bool:
    """Whether the checkpoint that bears the plain name is the quantized one."""
    return bool(re.search(r"DeepSeek-V|Kimi-K2", name))


def _renamed(model_type: str, shape: Json) -> Json:
    found = {}
    if "kv_lora_rank" not in shape and "head_dim" in shape:
        found["head_dim"] = shape["head_dim"]
    if "n_routed_experts" in shape:
        found[EXPERTS.get(model_type, "n_routed_experts")] = shape["n_routed_experts"]
    if model_type == "gemma2":
        layers = shape["num_hidden_layers"]
        found["layer_types"] = ["full_attention" if n % 2 else "sliding_attention" for n in range(layers)]
    if model_type == "opt":
        found |= {"ffn_dim": shape["intermediate_size"], "word_embed_proj_dim": shape["hidden_size"]}
        found |= {"do_layer_norm_before": True}
    return found


def _packed(bits: int, group: int = 128, *, symmetric: bool = True) -> Json:
    weights = {"num_bits": bits, "type": "int", "group_size": group, "strategy": "group", "symmetric": symmetric}
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
            "config_groups": groups}  # fmt: skip


FORMATS: Sequence[tuple[str, Json | None]] = (
    (r"^w8a16", _packed(8)),
    (r"^w4a16|^compressed-tensors int4", _packed(4)),
    (r"^awq.*(AWQ-4bit|MiniMax-M2\.7)", _packed(4, 32, symmetric=False)),
    (r"^awq", {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}),
    (r"^auto_?round", {"quant_method": "auto-round", "bits": 4, "group_size": 128, "sym": True,
                      "packing_format": "auto_round:auto_gptq"}),
    (r"^bnb", {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
              "bnb_4bit_use_double_quant": True}),
    (r"^4.bit|^quantized", {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}),
    (r"^fp8", {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}),
    (r".", None),
)  # fmt: skip
"""What a log's word for the format, with the checkpoint's name behind it, usually stands for; None: not settled."""


def quantized(config: dict[str, Any], said: str | None, name: str = "") -> dict[str, Any] | None:
    """The config with ``quantization_config``; None: what the log calls the format does not say how it is stored.

    ``name`` of the checkpoint: those called AWQ-4bit are compressed-tensors with groups of 32.
    """
    text = config.get("text_config")
    if said is None or "quantization_config" in config or (isinstance(text, dict) and "quantization_config" in text):
        return config
    found = next(form for pattern, form in FORMATS if re.search(pattern, f"{said} {name}", re.IGNORECASE))
    return None if found is None else {**config, "quantization_config": dict(found)}
