"""Which format has a weight that NVIDIA's ModelOpt quantized? Uniformly, or each layer as its list says.

Its words stand in ``config.json`` (``quant_algo``, ``ignore``) or below ``quantization`` of ``hf_quant_config.json``
(``exclude_modules``). Read in vLLM 0.32, modelopt.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from diag.planner.model.formats import stored
from diag.planner.model.formats.ignored import Names, bare, spellings
from diag.planner.model.formats.said import Asked, Rule, Said
from diag.planner.model.formats.stored import Format
from diag.planner.unknown import NotKnown

MIXED = "MIXED_PRECISION"

ALGOS: Mapping[str, Format] = {
    "FP8": stored.FP8_STATIC,
    "FP8_PER_CHANNEL_PER_TOKEN": stored.FP8_ROWS,
    "FP8_PB_WO": stored.fp8_block(128, 128),
    "FP8_BLOCK_SCALES": stored.fp8_block(128, 128),
    "NVFP4": stored.NVFP4,
    "W4A16_NVFP4": stored.NVFP4A16,
    "MXFP8": stored.MXFP8,
}
"""Experts in FP8 share the input scale of gate and up: 4 bytes an expert fewer than counted."""

VISION = ("vision_tower", "vision_model", "vit_large_projector")
"""Never quantized, also where older lists do not name them."""

_LISTS = {"ignore", "exclude_modules"}


def modelopt(said: Said) -> Rule:
    algo = said.text("quant_algo", "").upper()
    if algo == MIXED:
        return _mixed(said)
    form, ignored = _format(algo, said.keys), _ignored(said, algo)

    unlisted = not _LISTS & set(said.keys)

    def rule(asked: Asked) -> Format | None:
        left_alone = ignored.mean(asked.name) or _is_vision(asked.name) or (unlisted and asked.head)
        return None if left_alone else form

    return rule


def _ignored(said: Said, algo: str) -> Names:
    """Without a list the layers that are left alone cannot be guessed; FP8 of old ModelOpt left the head alone."""
    if not _LISTS & set(said.keys) and ("FP4" in algo or not said.keys.get("producer")):
        raise NotKnown(
            f"quantization {algo} without a list of modules that are left alone (exclude_modules)",
            "the headers of its safetensors files say which are quantized",
        )
    return said.names("ignore", "exclude_modules")


def _mixed(said: Said) -> Rule:
    """By name; experts by theirs or by that of the whole; what is not listed is not quantized."""
    layers = said.keys.get("quantized_layers")
    if not isinstance(layers, Mapping) or not layers:
        raise said.bad("quantized_layers", "an algorithm for each layer")
    forms = {bare(name): _format(str(keys.get("quant_algo")).upper(), keys) for name, keys in layers.items()}
    ignored = said.names("ignore", "exclude_modules")

    def rule(asked: Asked) -> Format | None:
        if ignored.mean(asked.name):
            return None
        return next((forms[name] for name in spellings(asked.name) if name in forms), None)

    return rule


def _format(algo: str, keys: Mapping[str, Any]) -> Format:
    if algo not in ALGOS:
        raise NotKnown(f"quantization {algo or 'without quant_algo'} of modelopt: the planner knows {', '.join(ALGOS)}")
    form = ALGOS[algo]
    group = keys.get("group_size")
    if "NVFP4" in algo and isinstance(group, int):
        form = msgspec.structs.replace(form, block=(1, group))
    return stored.NVFP4A16 if algo == "NVFP4" and _only_weights(keys) else form


def _only_weights(keys: Mapping[str, Any]) -> bool:
    """Some say NVFP4 and quantize no inputs in any group: vLLM runs them as W4A16."""
    groups = keys.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        return False
    return all(isinstance(group, Mapping) and group.get("input_activations") is None for group in groups.values())


def _is_vision(name: str) -> bool:
    return any(word in name for word in VISION)
