"""Which format has a weight of a checkpoint in compressed-tensors? Groups of targets, each with a scheme.

A target is a name, ``re:`` and a pattern, or a class of layer (``Linear``); a name counts before a class, and the head
is no ``Linear`` to engines. Read in vLLM 0.32, compressed_tensors.py and its schemes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from diag.planner.model.formats import stored
from diag.planner.model.formats.ignored import Names, read_names
from diag.planner.model.formats.said import Asked, Rule, Said
from diag.planner.model.formats.stored import Format
from diag.planner.unknown import NotKnown


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """``classes``: it targets every linear layer."""

    names: Names
    classes: bool
    form: Format


def compressed_tensors(said: Said) -> Rule:
    groups = said.keys.get("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise said.bad("config_groups", "groups of targets")
    read = [_group(said, keys) for keys in groups.values() if not _attention_only(keys)]
    ignored = said.names("ignore")

    def rule(asked: Asked) -> Format | None:
        if ignored.mean(asked.name):
            return None
        named = next((group.form for group in read if group.names.mean(asked.name)), None)
        return named or next((group.form for group in read if group.classes and not asked.head), None)

    return rule


def _attention_only(keys: Mapping[str, Any]) -> bool:
    """A group of attention modules says how the KV cache is quantized, not a weight."""
    targets = keys.get("targets") or ()
    return bool(targets) and all(str(target).endswith("Attention") for target in targets)


def _group(said: Said, keys: Mapping[str, Any]) -> Group:
    targets = [str(target) for target in keys.get("targets") or ("Linear",)]
    classes = [target for target in targets if target.endswith("Linear") and "." not in target]
    weights, inputs = keys.get("weights"), keys.get("input_activations")
    if not isinstance(weights, Mapping):
        raise NotKnown(f"compressed-tensors group without weights: {str(keys)[:80]}")
    return Group(
        names=read_names(target for target in targets if target not in classes),
        classes=bool(classes),
        form=_format(weights, inputs if isinstance(inputs, Mapping) else None, said.dtype_bytes),
    )


def _format(weights: Mapping[str, Any], inputs: Mapping[str, Any] | None, dtype_bytes: int) -> Format:
    kind, bits, strategy = weights.get("type", "int"), weights.get("num_bits"), _strategy(weights)
    if (kind, bits) == ("float", 8):
        return _fp8(weights, inputs, strategy)
    if (kind, bits) == ("float", 4) and strategy in {"group", "tensor_group"}:
        return _fp4(weights, inputs)
    if kind == "int" and bits == stored.INT8_ROWS.bits and inputs is not None and strategy in {"channel", "tensor"}:
        return stored.INT8_ROWS
    if kind == "int" and isinstance(bits, int) and strategy in {"group", "channel"}:
        group, zeros = int(weights.get("group_size") or -1), weights.get("symmetric") is False
        return stored.grouped(f"int{bits}_weights", bits, group, scale_bytes=dtype_bytes, zeros=zeros)
    raise NotKnown(f"compressed-tensors weights of {kind} {bits} bits by {strategy}")


def _strategy(weights: Mapping[str, Any]) -> str:
    said = weights.get("strategy")
    return str(said) if said else "group" if weights.get("group_size") else "tensor"


def _fp8(weights: Mapping[str, Any], inputs: Mapping[str, Any] | None, strategy: str) -> Format:
    if strategy == "tensor":
        return stored.FP8 if inputs is None or inputs.get("dynamic") else stored.FP8_STATIC
    if strategy == "channel":
        return stored.FP8_ROWS
    block = weights.get("block_structure")
    if strategy == "block" and isinstance(block, (list, tuple)):
        return stored.fp8_block(*(int(side) for side in block))
    if strategy == "block" and isinstance(block, str) and "x" in block:
        return stored.fp8_block(*(int(side) for side in block.split("x")))
    if strategy == "group" and weights.get("group_size") == stored.MXFP8.block[1]:
        return stored.MXFP8
    raise NotKnown(f"compressed-tensors weights of float 8 bits by {strategy}, block {block!r}")


def _fp4(weights: Mapping[str, Any], inputs: Mapping[str, Any] | None) -> Format:
    group = weights.get("group_size")
    if group == stored.NVFP4.block[1]:
        return stored.NVFP4 if inputs is not None else stored.NVFP4A16
    if group == stored.MXFP4.block[1]:
        return stored.MXFP4
    raise NotKnown(f"compressed-tensors weights of float 4 bits in groups of {group}")
