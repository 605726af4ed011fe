"""What does an engine make of a checkpoint's formats while it loads? Bytes that are in no file.

- Marlin has no scale for a block or a matrix: each row gets one of 16 bit, for each block of inputs (vLLM,
  marlin_utils_fp8.py; SGLang took it over). FP8 in blocks of 128 takes 1.6 % more on an A100 than on an H100.
- MXFP4 experts are padded for their kernel (vLLM: fused_moe/oracle/mxfp4.py from 0.19, quantization/mxfp4.py before),
  and for Triton's on Hopper turned (``triton_mxfp4.py``).
- Latent attention multiplies with kv_b_proj's two halves in 16 bit: a copy, where it is quantized (mla_attention.py).
- TurboMind has layouts of its own (``turbomind.py``).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from diag.planner.model.architecture import Architecture, Layer, Weight
from diag.planner.model.formats.stored import Format
from diag.planner.model.formats.support import how, release
from diag.planner.model.formats.triton_mxfp4 import SINCE, in_triton
from diag.planner.model.formats.turbomind import in_turbomind

MARLIN_SCALE_BYTES = 2

Padding = tuple[int, int]
"""Multiples of an expert's inner size and of the hidden size."""

MARLIN_TILE: Padding = (128, 256)
TRTLLM_TILE: Padding = (128, 256)
TRTLLM_TILE_BEFORE: Padding = (256, 256)


class Loader(msgspec.Struct, frozen=True, kw_only=True):
    """Who loads on what. ``version`` None: the newest."""

    engine: str
    version: str | None
    capability: int | None
    vendor: str = "nvidia"


def held(architecture: Architecture, loader: Loader) -> Architecture:
    """The architecture with the formats that its weights have in memory, and the copies that are made of them."""
    kinds: dict[int, tuple[Weight, ...]] = {}
    if loader.engine == "turbomind":
        architecture = in_turbomind(architecture, loader.version)
    for layer in architecture.layers:
        kinds.setdefault(id(layer.weights), tuple(_held_weights(architecture, layer.weights, loader)))
    return msgspec.structs.replace(
        architecture,
        layers=tuple(_with(layer, kinds[id(layer.weights)]) for layer in architecture.layers),
        first=tuple(_held_weights(architecture, architecture.first, loader)),
        last=tuple(_held_weights(architecture, architecture.last, loader)),
    )


def _with(layer: Layer, weights: tuple[Weight, ...]) -> Layer:
    return msgspec.structs.replace(layer, weights=weights)


def _held_weights(architecture: Architecture, weights: tuple[Weight, ...], loader: Loader) -> Iterator[Weight]:
    method = architecture.quantization.method if architecture.quantization else None
    for weight in weights:
        if weight.format is None:
            yield weight
            continue
        if _in_triton(weight, weight.format, loader, method):
            yield from in_triton(weight, weight.format, None if loader.version is None else release(loader.version))
            continue
        yield msgspec.structs.replace(weight, format=_held_format(weight, weight.format, loader, method))
        if weight.name.endswith("kv_b_proj") and loader.engine in {"vllm", "sglang"}:
            yield msgspec.structs.replace(weight, name=f"{weight.name} in 16 bit", format=None, stored=False)


def _held_format(weight: Weight, form: Format, loader: Loader, method: str | None) -> Format:
    if form.name in {"fp8", "fp8_block"} and _is_weight_only(weight, form, loader, method):
        return msgspec.structs.replace(form, block=(1, form.block[1]), scale_bytes=MARLIN_SCALE_BYTES)
    if form.name == "mxfp4" and weight.expert and loader.engine == "vllm" and loader.vendor == "nvidia":
        inner, hidden = _tile(loader)
        fused = 2 if "gate_up" in weight.name else 1
        multiple = (hidden, inner) if weight.shard == "columns" else (fused * inner, hidden)
        return msgspec.structs.replace(form, multiple=multiple)
    return form


def _in_triton(weight: Weight, form: Format, loader: Loader, method: str | None) -> bool:
    """``mxfp4`` is the method of gpt-oss; other models' MXFP4 experts never run in Triton's kernel."""
    if form.name != "mxfp4" or not weight.expert or method != "mxfp4":
        return False
    hopper = loader.engine == "vllm" and loader.vendor == "nvidia" and loader.capability == 90  # noqa: PLR2004
    return hopper and (loader.version is None or release(loader.version) >= SINCE)


def _is_weight_only(weight: Weight, form: Format, loader: Loader, method: str | None) -> bool:
    support = how(
        loader.engine,
        loader.version,
        loader.capability,
        loader.vendor,
        form.name,
        experts=weight.expert,
        method=method,
    )
    return support.kind == "weight_only"


def _tile(loader: Loader) -> Padding:
    if 100 <= (loader.capability or 0) < 120:  # noqa: PLR2004 - Blackwell of data centres
        old = loader.version is not None and release(loader.version) < (0, 19)
        return TRTLLM_TILE_BEFORE if old else TRTLLM_TILE
    return MARLIN_TILE
