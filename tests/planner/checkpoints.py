"""How do tests write the files of a checkpoint? Real safetensors of an Architecture, laid out as quantizers do it.

By hand, and not by the planner's own formulas: each format names its tensors, their dtypes and shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from diag.planner.model.architecture import Architecture, Layer, Weight
from tests.node.models import Tensors, write_safetensors

DTYPES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def write(folder: Path, architecture: Architecture, **more: tuple[str, tuple[int, ...]]) -> Path:
    """One file; ``more`` tensors beside those of the architecture."""
    folder.mkdir(exist_ok=True)
    write_safetensors(folder / "model.safetensors", dict(tensors(architecture)) | more)
    return folder


def one_of_a_kind(architecture: Architecture) -> Architecture:
    """With the first layer of each kind alone."""
    kinds: dict[int, Layer] = {}
    for layer in architecture.layers:
        kinds.setdefault(id(layer.weights), layer)
    return msgspec.structs.replace(architecture, layers=tuple(kinds.values()))


def tensors(architecture: Architecture) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
    plain = DTYPES[architecture.stored_dtype or architecture.dtype]
    placed = [(f"{layer.prefix}.", weight) for layer in architecture.layers for weight in layer.weights]
    placed += [("", weight) for weight in architecture.first]
    placed += [("", w) for w in architecture.last if not (architecture.tied and w.shard == "vocab")]
    for number, (prefix, weight) in enumerate(placed):
        for copy in range(weight.count if weight.stored else 0):
            yield from _of(f"{prefix}{weight.name}.{number}.{copy}", weight, plain)


def _of(name: str, weight: Weight, plain: str) -> Iterator[tuple[str, tuple[str, tuple[int, ...]]]]:
    """The number keeps apart what lies in one tensor in truth (q, k and v of Phi 3)."""
    own = plain if weight.dtype_bytes is None else {2: "BF16", 4: "F32"}[int(weight.dtype_bytes)]
    if weight.bias:
        yield f"{name}.bias", (own, (weight.rows,))
    if weight.format is None:
        yield f"{name}.weight", (own, (weight.rows, weight.columns))
        return
    for suffix, told in LAYOUTS[weight.format.name](weight, plain).items():
        yield f"{name}.{suffix}", told


def _blocks(weight: Weight) -> tuple[int, int]:
    assert weight.format is not None
    rows, columns = weight.format.block
    return -(-weight.rows // (rows or weight.rows)), -(-weight.columns // (columns or weight.columns))


def _fp8(weight: Weight, _plain: str) -> Tensors:
    tensor: Tensors = {"weight": ("F8_E4M3", (weight.rows, weight.columns)), "weight_scale": ("F32", ())}
    assert weight.format is not None
    return tensor | ({"input_scale": ("F32", ())} if weight.format.extra_bytes else {})


def _fp8_block(weight: Weight, _plain: str) -> Tensors:
    assert weight.format is not None
    scale = "F8_E8M0" if weight.format.scale_bytes == 1 else "F32"
    return {"weight": ("F8_E4M3", (weight.rows, weight.columns)), "weight_scale_inv": (scale, _blocks(weight))}


def _mxfp8(weight: Weight, _plain: str) -> Tensors:
    return {"weight": ("F8_E4M3", (weight.rows, weight.columns)), "weight_scale": ("U8", _blocks(weight))}


def _mxfp4(weight: Weight, _plain: str) -> Tensors:
    blocks = (*_blocks(weight), 16)
    return {"weight_blocks": ("U8", blocks), "weight_scales": ("U8", blocks[:2])}


def _nvfp4(weight: Weight, _plain: str) -> Tensors:
    packed, scales = (weight.rows, weight.columns // 2), _blocks(weight)
    return {"weight": ("U8", packed), "weight_scale": ("F8_E4M3", scales),
            "weight_scale_2": ("F32", ()), "input_scale": ("F32", ())}  # fmt: skip


def _awq(weight: Weight, plain: str) -> Tensors:
    groups = _blocks(weight)[1]
    return {"qweight": ("I32", (weight.columns, weight.rows // 8)), "qzeros": ("I32", (groups, weight.rows // 8)),
            "scales": (plain, (groups, weight.rows))}  # fmt: skip


def _gptq(weight: Weight, plain: str) -> Tensors:
    groups = _blocks(weight)[1]
    return {"qweight": ("I32", (weight.columns // 8, weight.rows)), "qzeros": ("I32", (groups, weight.rows // 8)),
            "scales": (plain, (groups, weight.rows)), "g_idx": ("I32", (weight.columns,))}  # fmt: skip


def _int4(weight: Weight, plain: str) -> Tensors:
    return {"weight_packed": ("I32", (weight.rows, weight.columns // 8)), "weight_scale": (plain, _blocks(weight)),
            "weight_shape": ("I64", (2,))}  # fmt: skip


def _int8(weight: Weight, _plain: str) -> Tensors:
    return {"weight": ("I8", (weight.rows, weight.columns)), "weight_scale": ("F32", (weight.rows, 1))}


def _bnb4(weight: Weight, _plain: str) -> Tensors:
    """With double quantization: the scales of 64 are bytes, each 256 of them have one in turn."""
    elements = weight.rows * weight.columns
    return {"weight": ("U8", (elements // 2, 1)), "weight.absmax": ("U8", (elements // 64,)),
            "weight.nested_absmax": ("F32", (-(-elements // 64 // 256),)), "weight.nested_quant_map": ("F32", (256,)),
            "weight.quant_map": ("F32", (16,)), "weight.quant_state.bitsandbytes__nf4": ("U8", (90,))}  # fmt: skip


LAYOUTS: Mapping[str, Callable[[Weight, str], Tensors]] = {
    "fp8": _fp8, "fp8_block": _fp8_block, "mxfp8": _mxfp8, "mxfp4": _mxfp4, "nvfp4": _nvfp4, "nvfp4a16": _nvfp4,
    "awq": _awq, "gptq": _gptq, "int4_weights": _int4, "int8": _int8, "bnb4": _bnb4,
}  # fmt: skip
