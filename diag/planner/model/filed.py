"""What do the files of a checkpoint hold of an architecture: how many numbers in 16 or 32 bit, how many packed bytes?

Two sums that its safetensors headers can contradict. Files differ from memory: GPTQ's hold the zero points of symmetric
weights and the order of the inputs (AutoGPTQ's qlinear), compressed-tensors' the shape of what is packed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from diag.planner.model.architecture import Architecture, Weight
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.formats.stored import Format, matrix_bytes

NUMBER_BYTES = 2
"""Scales of fewer bytes (F8_E8M0, F8_E4M3) count as packed."""
FLOAT32 = 4
INPUT_ORDER_BYTES = 4
SHAPE_BYTES = 16
GPTQ, PACKED_INT = "gptq", ("int4_weights", "int8_weights")


class Filed(msgspec.Struct, frozen=True, kw_only=True):
    """``numbers`` of BF16, F16 and F32 tensors, ``number_bytes`` theirs; ``packed_bytes`` of all other tensors."""

    numbers: int
    number_bytes: int
    packed_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        return self.number_bytes + self.packed_bytes


def filed(architecture: Architecture) -> Filed:
    """Draft layers and whatever else engines leave out are not counted."""
    dtype_bytes = DTYPE_BYTES[architecture.stored_dtype or architecture.dtype]
    kinds: dict[int, Filed] = {}
    sums = [_sum(_filed(weight, dtype_bytes) for weight in _ends(architecture))]
    for layer in architecture.layers:  # layers of a kind share one tuple
        if id(layer.weights) not in kinds:
            kinds[id(layer.weights)] = _sum(_filed(weight, dtype_bytes) for weight in layer.weights if weight.stored)
        sums.append(kinds[id(layer.weights)])
    return _sum(sums)


def head_numbers(architecture: Architecture) -> int:
    """Of a tied head, which some checkpoints store all the same; 0: it is counted already."""
    return architecture.vocab * architecture.hidden if architecture.tied else 0


def draft_bytes(architecture: Architecture) -> int:
    """What draft layers, which are left out, take at most.

    Each like the largest layer in 32 bit, with an embedding, a head and a projection of its own.
    """
    counts = (line.partition(" ")[0] for line in architecture.left_out)
    drafts = sum(int(count) for count in counts if count.isdecimal())
    if not drafts:
        return 0
    kinds = {id(layer.weights): layer.weights for layer in architecture.layers}.values()
    layer = max(sum((w.columns + w.bias) * w.rows * w.count for w in weights) for weights in kinds)
    beside = 2 * architecture.vocab * architecture.hidden + 4 * architecture.hidden**2
    return drafts * (layer + beside) * FLOAT32


def _ends(architecture: Architecture) -> Iterator[Weight]:
    embedded = any(weight.shard == "vocab" for weight in architecture.first)
    repeated = architecture.tied and embedded
    yield from (weight for weight in architecture.first if weight.stored)
    yield from (weight for weight in architecture.last if weight.stored and not (repeated and weight.shard == "vocab"))


def _filed(weight: Weight, dtype_bytes: int) -> Filed:
    each = dtype_bytes if weight.dtype_bytes is None else weight.dtype_bytes
    bias = weight.rows * weight.bias
    if weight.format is None:
        one = weight.rows * weight.columns + bias
        return _times(weight.count, one, int(one * each), 0)
    scales, scale_bytes, packed = _quantized(weight.format, weight.rows, weight.columns)
    return _times(weight.count, scales + bias, scale_bytes + int(bias * each), packed)


def _quantized(form: Format, rows: int, columns: int) -> tuple[int, int, int]:
    """Scales in 16 or 32 bit, their bytes, and the bytes of all else; of one matrix, which no kernel padded yet."""
    form = msgspec.structs.replace(form, multiple=(1, 1))
    everything = matrix_bytes(form, 0, rows, columns)
    whole = msgspec.structs.replace(form, scale_bytes=0, extra_bytes=0)
    packed = matrix_bytes(whole, 0, rows, columns)
    scale_bytes = everything - packed
    if form.scale_bytes < NUMBER_BYTES:
        packed, scale_bytes = packed + scale_bytes - form.extra_bytes, form.extra_bytes
    blocks = (scale_bytes - form.extra_bytes) / form.scale_bytes if form.scale_bytes >= NUMBER_BYTES else 0
    return int(blocks) + form.extra_bytes // FLOAT32, scale_bytes, packed + _in_files_only(form, rows, columns)


def _in_files_only(form: Format, rows: int, columns: int) -> int:
    if form.name in PACKED_INT:
        return SHAPE_BYTES
    if form.name != GPTQ:
        return 0
    groups = -(-columns // (form.block[1] or columns))
    zeros = 0 if form.zero_bits else int(rows * groups * form.bits / 8)
    return zeros + columns * INPUT_ORDER_BYTES


def _times(count: int, numbers: int, number_bytes: int, packed_bytes: int) -> Filed:
    return Filed(numbers=count * numbers, number_bytes=count * number_bytes, packed_bytes=count * packed_bytes)


def _sum(parts: Iterable[Filed]) -> Filed:
    listed = list(parts)
    return Filed(
        numbers=sum(part.numbers for part in listed),
        number_bytes=sum(part.number_bytes for part in listed),
        packed_bytes=sum(part.packed_bytes for part in listed),
    )
