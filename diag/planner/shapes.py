"""Which shapes does a Hugging Face ``config.json`` describe?

Decoders with full attention (MHA, GQA, MQA), dense or with routed experts in every layer, of the families in the table.
Everything else is ``NotKnown``: latent attention, sliding windows, state-space layers, modalities, quantization.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from diag.planner.unknown import NotKnown

DTYPE_BYTES = {"bfloat16": 2, "float16": 2}
"""float32 checkpoints are cast by the engine in ways that differ between versions; they are refused."""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """What the architecture fixes and the config does not say. A bias is True, False or the config key that decides."""

    architecture: str
    qkv_bias: bool | str = False
    o_bias: bool | str = False
    mlp_bias: bool | str = False
    qk_norm: bool = False
    experts: str | None = None
    """Config key with the number of routed experts per layer; None: dense."""
    expert_size: str = "intermediate_size"


FAMILIES: Mapping[str, Family] = {
    "llama": Family(
        architecture="LlamaForCausalLM", qkv_bias="attention_bias", o_bias="attention_bias", mlp_bias="mlp_bias"
    ),
    "mistral": Family(architecture="MistralForCausalLM"),
    "qwen2": Family(architecture="Qwen2ForCausalLM", qkv_bias=True),
    "qwen3": Family(architecture="Qwen3ForCausalLM", qkv_bias="attention_bias", o_bias="attention_bias", qk_norm=True),
    "mixtral": Family(architecture="MixtralForCausalLM", experts="num_local_experts"),
    "qwen3_moe": Family(
        architecture="Qwen3MoeForCausalLM",
        qkv_bias="attention_bias",
        o_bias="attention_bias",
        qk_norm=True,
        experts="num_experts",
        expert_size="moe_intermediate_size",
    ),
}


class Shapes(msgspec.Struct, frozen=True, kw_only=True):
    """Geometry of a decoder. ``experts`` 0: a dense MLP; ``max_len``: the longest context it promises, in tokens."""

    model_type: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    """Of the MLP, or of one routed expert."""
    vocab: int
    max_len: int
    dtype: str
    tied: bool = False
    qk_norm: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    experts: int = 0
    experts_per_token: int = 0

    @property
    def dtype_bytes(self) -> int:
        return DTYPE_BYTES[self.dtype]


def read_shapes(config_json: str) -> Shapes:
    """The shapes in the text of a ``config.json``; ``NotKnown`` names what is not understood in it."""
    config = _parse(config_json)
    family = _family(config)
    _refuse_what_is_not_full_attention(config)
    _refuse_quantization(config)
    experts = _count(config, family.experts) if family.experts else 0
    heads, hidden = _count(config, "num_attention_heads"), _count(config, "hidden_size")
    return Shapes(
        model_type=config["model_type"],
        layers=_count(config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=_count(config, "num_key_value_heads", default=heads),
        head_dim=_head_dim(config, hidden, heads),
        intermediate=_count(config, family.expert_size if experts else "intermediate_size"),
        vocab=_count(config, "vocab_size"),
        max_len=_count(config, "max_position_embeddings"),
        dtype=_dtype(config),
        tied=_flag(config, "tie_word_embeddings"),
        qk_norm=family.qk_norm,
        qkv_bias=_bias(config, family.qkv_bias),
        o_bias=_bias(config, family.o_bias),
        mlp_bias=_bias(config, family.mlp_bias),
        experts=experts,
        experts_per_token=_count(config, "num_experts_per_tok") if experts else 0,
    )


def _parse(config_json: str) -> dict[str, Any]:
    try:
        config = json.loads(config_json)  # published configs hold Infinity, which strict JSON refuses
    except ValueError as error:
        raise NotKnown(f"config.json is not JSON: {error}: {config_json[:80]!r}") from error
    if not isinstance(config, dict):
        raise NotKnown(f"config.json is not a JSON object: {config_json[:80]!r}")
    return config


def _family(config: Mapping[str, Any]) -> Family:
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise NotKnown(f"model_type {model_type!r}: the planner knows {', '.join(FAMILIES)}")
    family = FAMILIES[model_type]
    if config.get("architectures") != [family.architecture]:
        found = config.get("architectures")
        raise NotKnown(f"architectures {found!r} of model_type {model_type}: it knows {family.architecture}")
    for key in ("text_config", "vision_config", "audio_config"):
        if config.get(key):
            raise NotKnown(f"{key}: models of several modalities")
    return family


def _refuse_what_is_not_full_attention(config: Mapping[str, Any]) -> None:
    windowed = config.get("sliding_window") is not None and config.get("use_sliding_window", True)
    if windowed:
        raise NotKnown(f"sliding_window {config['sliding_window']}: KV cache of windowed attention")
    other = sorted({str(kind) for kind in config.get("layer_types") or ()} - {"full_attention"})
    if other:
        raise NotKnown(f"layer_types {', '.join(other)}: KV cache of layers other than full attention")
    for key in ("kv_lora_rank", "linear_num_key_heads", "mamba_d_state", "ssm_state_size", "layer_group_size"):
        if config.get(key):
            raise NotKnown(f"{key}: latent attention or state-space layers")
    if config.get("decoder_sparse_step", 1) != 1 or config.get("mlp_only_layers"):
        raise NotKnown("decoder_sparse_step or mlp_only_layers: models that mix dense and expert layers")


def _refuse_quantization(config: Mapping[str, Any]) -> None:
    for key in ("quantization_config", "compression_config"):
        if config.get(key):
            said = config[key] if isinstance(config[key], dict) else {}
            method = said.get("quant_method") or said.get("quant_algo") or "of a method it does not name"
            raise NotKnown(f"quantization {method}: bytes and shard rules of quantized weights")


def _count(config: Mapping[str, Any], key: str, *, default: int | None = None) -> int:
    value = config.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise NotKnown(f"{key} in config.json: found {value!r}, expected a positive integer")
    return value


def _head_dim(config: Mapping[str, Any], hidden: int, heads: int) -> int:
    if config.get("head_dim") is None and hidden % heads:
        raise NotKnown(f"head_dim: hidden_size {hidden} is no multiple of {heads} heads")
    return _count(config, "head_dim", default=hidden // heads)


def _flag(config: Mapping[str, Any], key: str) -> bool:
    value = config.get(key, False)
    if not isinstance(value, bool):
        raise NotKnown(f"{key} in config.json: found {value!r}, expected true or false")
    return value


def _bias(config: Mapping[str, Any], rule: bool | str) -> bool:
    return _flag(config, rule) if isinstance(rule, str) else rule


def _dtype(config: Mapping[str, Any]) -> str:
    dtype = config.get("torch_dtype", config.get("dtype"))
    if dtype not in DTYPE_BYTES:
        raise NotKnown(f"torch_dtype {dtype!r}: the planner knows {', '.join(DTYPE_BYTES)}")
    return str(dtype)
