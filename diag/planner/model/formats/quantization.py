"""Which weights does a checkpoint quantize, and how? Its config's words, applied to an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from diag.planner.model.formats.modelopt import MIXED
from diag.planner.model.formats.said import Asked, Rule, Said
from diag.planner.model.formats.schemes import rule_of
from diag.planner.model.formats.stored import Format, matrix_bytes, why_not_divided
from diag.planner.unknown import NotKnown

if TYPE_CHECKING:
    from diag.planner.model.architecture import Architecture, Layer, Weight

__all__ = ["Format", "Quantization", "matrix_bytes", "quantize", "why_not_divided"]


KV_DTYPES: Mapping[str, str] = {"FP8": "fp8", "NVFP4": "nvfp4", "NONE": ""}
"""What checkpoints call the dtype they want for their KV cache, and what engines do."""

KV_SCHEMES: Mapping[tuple[Any, Any], str] = {("float", 8): "FP8", ("float", 4): "NVFP4"}


class Quantization(msgspec.Struct, frozen=True, kw_only=True):
    """``method`` as engines name it: fp8, awq, gptq, compressed-tensors, modelopt, modelopt_fp4, mxfp4, …"""

    method: str
    kv_cache_dtype: str | None = None
    """What the checkpoint wants its KV cache to be, e.g. ``fp8``; None: says nothing. vLLM heeds it from 0.14 on."""
    unnamed: bool = False
    """The config names no ``quant_method``: vLLM takes the weights for unquantized unless it is told the method."""


def quantize(
    architecture: Architecture, config: Mapping[str, Any], hf_quant: Mapping[str, Any] | None = None
) -> Architecture:
    """The architecture with a format for each weight that the checkpoint quantizes; as it is, where it quantizes none.

    ``config``: config.json; ``hf_quant``: hf_quant_config.json beside it, which counts where the first says nothing.
    """
    found = _keys(config, hf_quant)
    if found is None:
        return architecture
    keys, of_text = found
    said = Said(keys=keys, model=config, dtype_bytes=4 if architecture.dtype == "float32" else 2)
    method = _method(keys)
    rule = rule_of(method, said)
    return msgspec.structs.replace(
        architecture,
        layers=_layers(architecture.layers, rule),
        first=architecture.first if of_text else _weights(architecture.first, rule),
        last=_weights(architecture.last, rule),
        quantization=Quantization(
            method=method, kv_cache_dtype=_kv_cache_dtype(keys), unnamed=not keys.get("quant_method")
        ),
    )


def _keys(config: Mapping[str, Any], hf_quant: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], bool] | None:
    """In the order of vLLM (model_arch_config_convertor.py), and whether they are those of ``text_config``."""
    text = config.get("text_config")
    for place in (config, text if isinstance(text, Mapping) else {}):
        for key in ("quantization_config", "compression_config"):
            if isinstance(place.get(key), Mapping) and place[key]:
                return _flat(place[key]), place is text
    return ({"quant_method": "modelopt", **_flat(hf_quant)}, False) if hf_quant else None


def _flat(keys: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = keys.get("quantization")
    return {**keys, **inner} if isinstance(inner, Mapping) else keys


def _method(keys: Mapping[str, Any]) -> str:
    """ModelOpt's files may not name it, and engines have one name for each of its algorithms."""
    named, algo = str(keys.get("quant_method") or "").lower(), str(keys.get("quant_algo") or "").upper()
    if not named.startswith("modelopt") and (named or not algo):
        return named or "of no name"
    if algo == MIXED:
        return "modelopt_mixed"
    return "modelopt_mxfp8" if "MXFP8" in algo else "modelopt_fp4" if "FP4" in algo else "modelopt"


def _kv_cache_dtype(keys: Mapping[str, Any]) -> str | None:
    """A word (``kv_cache_quant_algo``) or a scheme of bits (``kv_cache_scheme``)."""
    said = keys.get("kv_cache_quant_algo") or keys.get("kv_cache_scheme")
    if isinstance(said, Mapping):
        said = KV_SCHEMES.get((said.get("type"), said.get("num_bits")), dict(said))
    if said is None:
        return None
    if not isinstance(said, str) or said.upper() not in KV_DTYPES:
        raise NotKnown(f"KV cache quantized as {str(said)[:80]}: the planner knows {', '.join(KV_DTYPES)}")
    return KV_DTYPES[said.upper()] or None


def _layers(layers: tuple[Layer, ...], rule: Rule) -> tuple[Layer, ...]:
    """Layers that share their weights and get the same formats share them again: ``shards.py`` counts a kind once."""
    kinds: dict[tuple[int, tuple[Format | None, ...]], tuple[Weight, ...]] = {}
    quantized = []
    for layer in layers:
        forms = tuple(_form(weight, f"{layer.prefix}.", rule) for weight in layer.weights)
        kind = (id(layer.weights), forms)
        if kind not in kinds:
            kinds[kind] = _stored(layer.weights, forms)
        quantized.append(msgspec.structs.replace(layer, weights=kinds[kind]))
    return tuple(quantized)


def _weights(weights: tuple[Weight, ...], rule: Rule) -> tuple[Weight, ...]:
    return _stored(weights, tuple(_form(weight, "", rule) for weight in weights))


def _stored(weights: tuple[Weight, ...], forms: tuple[Format | None, ...]) -> tuple[Weight, ...]:
    return tuple(
        weight if form is None else msgspec.structs.replace(weight, format=form)
        for weight, form in zip(weights, forms, strict=True)
    )


def _form(weight: Weight, prefix: str, rule: Rule) -> Format | None:
    if not weight.linear or weight.dtype_bytes is not None:
        return None
    return rule(Asked(name=prefix + weight.name, expert=weight.expert, head=weight.shard == "vocab"))
