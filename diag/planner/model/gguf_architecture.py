"""Which model is a GGUF file? Its metadata as a ``config.json`` would say it, its tensors as what each weight takes.

The families read the one; the other is held against what they made of it: each weight has its tensor, of as many
elements, and no tensor is left over. Keys as llama.cpp's convert_hf_to_gguf.py writes them; what its loaders fix and
no key says (windows of Gemma and gpt-oss, none of Phi 3) as in src/models of llama.cpp.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from diag.planner.model import families
from diag.planner.model.architecture import Architecture, Layer, Weight
from diag.planner.model.formats.quantization import Quantization
from diag.planner.model.formats.stored import Format
from diag.planner.model.gguf_config import KINDS, config_of
from diag.planner.model.gguf_files import GgufFile, GgufTensor
from diag.planner.unknown import NotKnown

FLOATS = frozenset({"F32", "F16", "BF16"})
BESIDE = ("rope_freqs.", "rope_factors_long.", "rope_factors_short.")
"""Tables that each device computes with: some KiB."""
VISION = ("v.", "mm.")
"""Of a tower that lies in the same file, as Ollama's do; llama.cpp's lie in one of their own (mmproj)."""
INSTEAD: Mapping[str, tuple[str, ...]] = {
    "attn_kv_b": ("attn_k_b", "attn_v_b"),
    "attn_q": ("attn_qkv",),
    "attn_k": ("attn_qkv",),
    "attn_v": ("attn_qkv",),
    "attn_output": ("attn_out",),
    "post_attention_norm": ("ffn_norm",),
    "ffn_gate_exps": ("ffn_gate_up_exps",),
    "ffn_up_exps": ("ffn_gate_up_exps",),
}
"""What may hold a weight where there is no tensor of its own: halves, fused ones, names of Ollama's converter
(convert_gptoss.go)."""

Tensors = Mapping[str, tuple[GgufTensor, ...]]
"""What a weight is made of, by the name without ``.weight`` and ``.bias``."""


def gguf_architecture(file: GgufFile) -> Architecture:
    """Weights have the bytes of their tensors."""
    described = families.read(config_of(file))
    names, tensors = _Names(file), _by_weight(file)
    whole = msgspec.structs.replace(
        described,
        layers=_layers(described.layers, names, tensors),
        first=(*_towers(file), *_stored(described.first, "", names, tensors)),
        last=_stored(_last(described), "", names, tensors),
        quantization=None if _types(file) <= FLOATS else Quantization(method="gguf"),
        vision=any(_towers(file)),
    )
    left = sorted(name for name in set(tensors) - names.asked if not f"{name}.".startswith((*BESIDE, *VISION)))
    if left:
        raise NotKnown(f"{file.path}: {len(left)} tensors that {described.model_type} does not have ({left[0]})")
    return whole


class _Names:
    """What ggml calls weights; it remembers which it was asked for."""

    def __init__(self, file: GgufFile) -> None:
        gguf: Any = importlib.import_module("gguf")  # an optional extra: whoever has a GgufFile has it
        wanted = KINDS[file.architecture].ggml or file.architecture
        kind = next((key for key, name in gguf.MODEL_ARCH_NAMES.items() if name == wanted), None)
        if kind is None:
            raise NotKnown(f"the gguf library here does not know {file.architecture}", "pip install --upgrade gguf")
        self._map = gguf.get_tensor_name_map(kind, file.count("block_count"))
        self.path, self.asked = file.path, set[str]()

    def of(self, weight: Weight, prefix: str, tensors: Tensors) -> tuple[str, ...]:
        published = f"{prefix}{weight.name}".replace(".experts.0.", ".experts.").removesuffix("_bias")
        name = self._map.get_name(published)
        if name is None:
            raise NotKnown(f"{self.path}: the gguf library has no tensor for {published}")
        where, dot, last = str(name).rpartition(".")
        instead = tuple(where + dot + part for part in INSTEAD.get(last, ()))
        found = instead if name not in tensors and instead and set(instead) <= set(tensors) else (name,)
        self.asked.update(found)
        return found


def _towers(file: GgufFile) -> tuple[Weight, ...]:
    """Of each type one weight; every stage of a pipeline holds them."""
    found: dict[str, list[GgufTensor]] = {}
    for tensor in file.tensors:
        if tensor.name.startswith(VISION):
            found.setdefault(tensor.type, []).append(tensor)
    return tuple(_tower(kind, parts) for kind, parts in sorted(found.items()))


def _tower(kind: str, parts: list[GgufTensor]) -> Weight:
    rows, size = sum(part.elements for part in parts), sum(part.size_bytes for part in parts)
    return Weight(name=f"vision tower, {kind}", rows=rows, dtype_bytes=size / rows, linear=False, every_stage=True)


def _last(architecture: Architecture) -> tuple[Weight, ...]:
    """A tied head has no tensor."""
    return tuple(weight for weight in architecture.last if not (architecture.tied and weight.shard == "vocab"))


def _types(file: GgufFile) -> set[str]:
    return {tensor.type for tensor in file.tensors}


def _by_weight(file: GgufFile) -> Tensors:
    found: dict[str, tuple[GgufTensor, ...]] = {}
    for tensor in file.tensors:
        name = tensor.name.removesuffix(".weight").removesuffix(".bias")
        found[name] = (*found.get(name, ()), tensor)
    return found


def _layers(layers: Iterable[Layer], names: _Names, tensors: Tensors) -> tuple[Layer, ...]:
    """Layers of the same weights share one tuple again, as ``shards.py`` wants it."""
    kinds: dict[tuple[Weight, ...], tuple[Weight, ...]] = {}
    found = []
    for layer in layers:
        weights = _stored(layer.weights, f"{layer.prefix}.", names, tensors)
        found.append(msgspec.structs.replace(layer, weights=kinds.setdefault(weights, weights)))
    return tuple(found)


def _stored(weights: tuple[Weight, ...], prefix: str, names: _Names, tensors: Tensors) -> tuple[Weight, ...]:
    """Weights of one name (q, k and v of Phi 3) lie in one tensor."""
    together: dict[tuple[str, ...], list[Weight]] = {}
    for weight in weights:
        together.setdefault(names.of(weight, prefix, tensors), []).append(weight)
    for of, sharing in together.items():
        _agree(of, sharing, names.path, tensors)
    return tuple(_with_bytes(weight, names.of(weight, prefix, tensors), tensors) for weight in weights)


def _agree(of: tuple[str, ...], weights: list[Weight], path: str, tensors: Tensors) -> None:
    described = sum((weight.columns + weight.bias) * weight.rows * weight.count for weight in weights)
    held = sum(tensor.elements for tensor in _of(of, tensors))
    if held != described:
        what = f"hold {held:,} parameters, its metadata describes {described:,}"
        raise NotKnown(f"{path}: tensors {' and '.join(of)} {what}", "is the file complete?")


def _with_bytes(weight: Weight, of: tuple[str, ...], tensors: Tensors) -> Weight:
    """Of matrix and bias, which is never quantized."""
    parts = _of(of, tensors)
    matrix = [part for part in parts if not (weight.bias and part.name.endswith(".bias"))]
    each = sum(part.size_bytes for part in matrix) / sum(part.elements for part in matrix)
    if all(part.type in FLOATS for part in matrix):
        return msgspec.structs.replace(weight, dtype_bytes=each)
    beside = 4 if weight.bias else None
    return msgspec.structs.replace(weight, format=Format(name="gguf", bits=8 * each), dtype_bytes=beside)


def _of(names: tuple[str, ...], tensors: Tensors) -> Iterator[GgufTensor] | list[GgufTensor]:
    return [tensor for name in names for tensor in tensors.get(name, ())]
