"""Can an engine run a model on a device: its class, its weights and its KV cache as they are stored, its attention?

What is not quantized needs 16-bit arithmetic, bfloat16 not every device has: then it is float16, by a flag.
"""

from __future__ import annotations

import msgspec

from diag.planner.memory.attempt import Device
from diag.planner.model.architecture import Architecture, CompressedCache, LatentCache
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.formats.support import Support, how
from diag.planner.rules import EngineRules
from diag.planner.served import Served, served
from diag.planner.unknown import NotKnown

DTYPES = {"bfloat16": "bf16", "float16": "fp16"}
SPELLED = {"bf16": "bfloat16", "half": "float16", "fp16": "float16", "float": "float32"}
KV_WORDS = {"fp8_e4m3": "fp8", "fp8_e5m2": "fp8", "fp8_ds_mla": "fp8", "nvfp4_4over6": "nvfp4"}
UNDESCRIBED = "unknown"
"""Vendor of a device of which somebody declared only the memory: then memory is what is asked for."""
OF_THE_MODEL = frozenset({"auto", "bfloat16", "float16", "float32", "bf16", "fp16", "f16"})


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """``architecture`` as it would run. ``dtype_why``: of a dtype that needs a flag."""

    architecture: Architecture
    notes: tuple[str, ...] = ()
    refused: str | None = None
    """Why it does not run."""
    lever: str | None = None
    """What would change that, where it is known."""
    unknown: str | None = None
    """What is not known of this engine on this vendor's devices: then memory alone decides nothing."""
    dtype_why: str | None = None


def running(
    architecture: Architecture, rules: EngineRules, device: Device, kv_cache_dtype: str, dtype: str | None = None
) -> Running:
    """``dtype``: as the user settled it; None: the device decides. Raises NotKnown."""
    settled = None if dtype is None else _cast(architecture, dtype)
    found, dtype_why = _in_16_bit(architecture, rules, device) if settled is None else (settled, None)
    plain = _of(DTYPES.get(found.dtype, ""), rules, device)
    weights, cache = _weights(found, rules, device), _cache(kv_cache_dtype, rules, device)
    attention, dense = _attention(found, rules, device), [plain] if plain else []
    supports = [*_built(rules, device), *weights, *cache, *attention, *dense]
    known, undescribed = served(rules.kind, rules.version, found.name), device.vendor == UNDESCRIBED
    unknown = tuple(one.why for one in supports if one.kind == "unknown")
    slow = tuple(one.why for one in supports if one.kind == "weight_only")
    return Running(
        architecture=found,
        notes=tuple(dict.fromkeys((*slow, *unknown) if undescribed else slow)),
        refused=_refused(known, supports),
        lever=known.lever,
        unknown=next(iter((*_unread(known), *(() if undescribed else unknown))), None),
        dtype_why=dtype_why,
    )


def _refused(known: Served, supports: list[Support]) -> str | None:
    if known.kind == "no":
        return known.why
    return next((one.why for one in supports if one.kind == "unsupported"), None)


def _unread(known: Served) -> tuple[str, ...]:
    return (known.why,) if known.kind == "unknown" else ()


def _built(rules: EngineRules, device: Device) -> list[Support]:
    """Nothing where it was not read what an engine's releases were built for."""
    found = _of("wheels", rules, device)
    return [found] if found is not None and found.source else []


def _attention(architecture: Architecture, rules: EngineRules, device: Device) -> list[Support]:
    caches = dict.fromkeys(cache for layer in architecture.layers for cache in layer.caches)
    latent = dict.fromkeys("sparse_mla" if one.sparse else "mla" for one in caches if isinstance(one, LatentCache))
    compressed = ["compressed_attention"] if any(isinstance(one, CompressedCache) for one in caches) else []
    found = (_of(name, rules, device) for name in (*latent, *compressed))
    return [one for one in found if one is not None]


def _in_16_bit(architecture: Architecture, rules: EngineRules, device: Device) -> tuple[Architecture, str | None]:
    if architecture.dtype != "bfloat16":
        return architecture, None
    wide, half = _of("bf16", rules, device), _of("fp16", rules, device)
    if wide is None or half is None or wide.kind != "unsupported" or half.kind != "native":
        return architecture, None
    return msgspec.structs.replace(architecture, dtype="float16"), wide.why


def _cast(architecture: Architecture, dtype: str) -> Architecture:
    name = SPELLED.get(dtype, dtype)
    if name == "auto":
        return architecture
    if name not in DTYPE_BYTES:
        raise NotKnown(f"dtype {dtype!r}: the planner knows auto, {', '.join(DTYPE_BYTES)}")
    stored = architecture.stored_dtype or architecture.dtype
    return msgspec.structs.replace(architecture, dtype=name, stored_dtype=stored)


def _weights(architecture: Architecture, rules: EngineRules, device: Device) -> list[Support]:
    kinds = {id(layer.weights): layer.weights for layer in architecture.layers}.values()
    every = (*architecture.first, *(one for weights in kinds for one in weights), *architecture.last)
    asked = dict.fromkeys((one.format.name, one.expert) for one in every if one.format is not None)
    method = architecture.quantization.method if architecture.quantization else None
    found = (_of(name, rules, device, experts=experts, method=method) for name, experts in asked)
    return [one for one in found if one is not None]


def _cache(kv_cache_dtype: str, rules: EngineRules, device: Device) -> list[Support]:
    if kv_cache_dtype in OF_THE_MODEL:
        return []
    found = _of(f"kv_{KV_WORDS.get(kv_cache_dtype, kv_cache_dtype)}", rules, device)
    return [found] if found is not None else []


def _of(
    name: str, rules: EngineRules, device: Device, *, experts: bool = False, method: str | None = None
) -> Support | None:
    if not name:
        return None
    capability = None if device.capability is None else device.capability[0] * 10 + device.capability[1]
    return how(rules.kind, rules.version, capability, device.vendor, name, experts=experts, method=method)


def kv_support(name: str, rules: EngineRules, device: Device) -> Support | None:
    """Of a KV cache of another dtype than the model's."""
    return _of(f"kv_{name}", rules, device)
