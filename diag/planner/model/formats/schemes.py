"""Which format has a weight of a quantized checkpoint? One reader for each method that a config names.

A reader turns a ``quantization_config`` into a rule; what its engines do that it does not say is in a comment. Read in:
vLLM 0.32 (model_executor/layers/quantization); what it dropped or never had, in vLLM 0.8 to 0.24 and SGLang 0.5.23.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from diag.planner.model.formats import stored
from diag.planner.model.formats.compressed_tensors import compressed_tensors
from diag.planner.model.formats.ignored import Names, read_names
from diag.planner.model.formats.modelopt import modelopt
from diag.planner.model.formats.said import Asked, Rule, Said
from diag.planner.model.formats.stored import Format
from diag.planner.unknown import NotKnown

FULL_BITS = 16
DEEPSEEK_V4 = ("deepseek_v4", "deepseek_v41")


def rule_of(method: str, said: Said) -> Rule:
    """``method`` is ``quant_method`` of the config; one that no engine here reads is ``NotKnown``."""
    if method not in READERS:
        raise NotKnown(
            f"quantization method {method!r}: the planner knows {', '.join(sorted(READERS))}",
            "a checkpoint in one of these, or in the model's own dtype",
        )
    return READERS[method](said)


def _all_but(said: Said, form: Format, *keys: str) -> Rule:
    """Every linear layer but the head and those of the ignore list."""
    ignored = said.names(*keys)
    return lambda asked: None if asked.head or ignored.mean(asked.name) else form


def _fp8(said: Said) -> Rule:
    block = said.block("weight_block_size")
    static = said.text("activation_scheme", "dynamic") == "static"
    form = stored.fp8_block(*block) if block else stored.FP8_STATIC if static else stored.FP8
    if str(said.model.get("model_type")).startswith(DEEPSEEK_V4):
        return _deepseek_v4(said, form)
    return _all_but(said, form, "ignored_layers", "modules_to_not_convert")


def _deepseek_v4(said: Said, form: Format) -> Rule:
    """It says ``fp8`` and means: experts in FP4, scales of one byte for all else (deepseek_v4/quant_config.py)."""
    dtype = said.model.get("expert_dtype", "fp4")
    if dtype not in ("fp4", "fp8"):
        raise NotKnown(f"expert_dtype {dtype!r} of DeepSeek-V4: the planner knows fp4 and fp8")
    if dtype == "fp8":
        return _all_but(said, form, "ignored_layers", "modules_to_not_convert")
    expert = stored.NVFP4 if str(said.keys.get("moe_quant_algo")).upper() == "NVFP4" else stored.MXFP4
    small = stored.MXFP8 if form.block == (32, 32) else stored.fp8_block(*form.block, scale_bytes=1)
    rest = _all_but(said, small, "ignored_layers", "modules_to_not_convert")
    return lambda asked: expert if asked.expert and rest(asked) else rest(asked)


def _fbgemm(said: Said) -> Rule:
    return _all_but(said, stored.FP8_ROWS, "modules_to_not_convert")


def _mxfp8(said: Said) -> Rule:
    return _all_but(said, stored.MXFP8, "ignored_layers", "modules_to_not_convert")


def _mxfp4(_said: Said) -> Rule:
    """Experts only, whatever the list says: vLLM has no MXFP4 for other layers of this method (mxfp4.py)."""
    return lambda asked: stored.MXFP4 if asked.expert else None


def _awq(said: Said) -> Rule:
    bits, group = said.count("bits", "w_bit"), said.count("group_size", "q_group_size")
    form = stored.grouped("awq", bits, group, scale_bytes=said.dtype_bytes, zeros=said.flag("zero_point", default=True))
    return _with_head(said, _all_but(said, form, "modules_to_not_convert"), form)


def _gptq(said: Said) -> Rule:
    """Zero points of a symmetric one are in the file; Marlin drops them (kernels/linear/mixed_precision/marlin.py)."""
    rules = said.keys.get("dynamic") or {}
    if not isinstance(rules, Mapping):
        raise said.bad("dynamic", "rules by pattern")
    plain, chosen = _gptq_format(said, {}), _gptq_chosen(said)

    def rule(asked: Asked) -> Format | None:
        said_of_it = _first_rule(rules, asked.name)
        if said_of_it is None or asked.head or (chosen and not chosen.mean(asked.name)):
            return None
        return _gptq_format(said, said_of_it) if said_of_it else plain

    return _with_head(said, rule, plain)


def _gptq_chosen(said: Said) -> Names | None:
    """Names, or lists of the names that were quantized at once; None: every linear layer."""
    lists = said.keys.get("modules_in_block_to_quantize") or ()
    flat = [name for one in lists for name in (one if isinstance(one, list) else (one,))]
    return read_names(flat) if flat else None


def _gptq_format(said: Said, instead: Mapping[str, Any]) -> Format:
    changed = Said(keys={**said.keys, **instead}, model=said.model, dtype_bytes=said.dtype_bytes)
    return stored.grouped(
        "gptq",
        changed.count("bits"),
        changed.count("group_size"),
        scale_bytes=said.dtype_bytes,
        zeros=not changed.flag("sym", default=True),
    )


def _first_rule(rules: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    """Of GPTQModel's ``dynamic``: ``-:`` leaves a weight alone (None), ``+:`` or nothing overrides keys."""
    for pattern, overrides in rules.items():
        if re.match(pattern.removeprefix("-:").removeprefix("+:"), name):
            return None if pattern.startswith("-:") else dict(overrides)
    return {}


def _auto_round(said: Said) -> Rule:
    """GPTQ's or AWQ's packing; ``extra_config`` names what has other bits, 16 and more is not quantized."""
    if said.text("data_type", "int") != "int":
        raise NotKnown(f"auto-round with data_type {said.keys['data_type']!r}: the planner knows int")
    name = "awq" if "awq" in said.text("packing_format", "") else "gptq"
    exceptions = said.keys.get("extra_config") or {}

    def rule(asked: Asked) -> Format | None:
        other: Mapping[str, Any] = next((keys for one, keys in exceptions.items() if re.fullmatch(one, asked.name)), {})
        changed = Said(keys={**said.keys, **other}, model=said.model, dtype_bytes=said.dtype_bytes)
        bits, group = changed.count("bits"), changed.count("group_size")
        if bits >= FULL_BITS or (asked.head and not other):
            return None
        zeros = not changed.flag("sym", default=True)
        return stored.grouped(name, bits, group, scale_bytes=said.dtype_bytes, zeros=zeros)

    return rule


def _with_head(said: Said, rule: Rule, form: Format) -> Rule:
    head = said.flag("lm_head")
    return lambda asked: form if asked.head and head else rule(asked)


def _bitsandbytes(said: Said) -> Rule:
    if said.flag("load_in_4bit"):
        return _all_but(said, stored.BNB4, "llm_int8_skip_modules")
    if said.flag("load_in_8bit"):
        return _all_but(said, stored.BNB8, "llm_int8_skip_modules")
    raise said.bad("load_in_4bit", "it or load_in_8bit to be true")


def _int8_rows(said: Said) -> Rule:
    return _all_but(said, stored.INT8_ROWS, "ignore", "modules_to_not_convert")


def _int8_block(said: Said) -> Rule:
    block = said.block("weight_block_size")
    if block is None:
        raise said.bad("weight_block_size", "rows and columns of a block")
    form = Format(name="int8_block", bits=8, block=block, scale_bytes=4)
    return _all_but(said, form, "ignored_layers", "modules_to_not_convert")


READERS: Mapping[str, Callable[[Said], Rule]] = {
    "fp8": _fp8,
    "fbgemm_fp8": _fbgemm,
    "mxfp8": _mxfp8,
    "mxfp4": _mxfp4,
    "gpt_oss_mxfp4": _mxfp4,
    "awq": _awq,
    "gptq": _gptq,
    "auto-round": _auto_round,
    "intel/auto-round": _auto_round,
    "compressed-tensors": compressed_tensors,
    "modelopt": modelopt,
    "modelopt_fp4": modelopt,
    "modelopt_mixed": modelopt,
    "modelopt_mxfp8": modelopt,
    "bitsandbytes": _bitsandbytes,
    "w8a8_int8": _int8_rows,
    "blockwise_int8": _int8_block,
}
