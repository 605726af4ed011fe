"""Do the safetensors headers, or the tensors of a GGUF file, hold the weights that the architecture describes?"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from diag.facts.model import ModelFiles, TensorGroup
from diag.facts.record import NotMeasured
from diag.planner.model.architecture import Architecture
from diag.planner.model.filed import Filed, draft_bytes, filed, head_numbers
from diag.planner.model.gguf_files import GgufFile
from diag.planner.model.models import Model
from diag.planner.model.shards import parameter_count
from diag.planner.unknown import NotKnown
from diag.units import size

NUMBERS = frozenset({"BF16", "F16", "F32"})
"""As safetensors spells them; tensors of all other dtypes hold something packed."""
NUMBER_BYTES = 2
NEGLIGIBLE = 0.001
"""Share of the bytes that may differ: buffers that older checkpoints carry along, scales of a KV cache."""
NEGLIGIBLE_OF: dict[str, float] = {"bitsandbytes": 0.15}
"""Its scales may be quantized themselves, which the config need not say: 0.13 bits of each weight, not 0.5."""
LEFT = ", which are not loaded"


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """``total_bytes`` on disk; ``extra_bytes`` more than the shapes explain, on every rank in the worst case.

    ``draft_bytes``: what there is beside the layers that are always loaded; None: no headers were read.
    """

    total_bytes: int
    extra_bytes: int = 0
    draft_bytes: int | None = None
    source: str


def checkpoint(model: Model, architecture: Architecture) -> Checkpoint:
    """``NotKnown`` where the files contradict the config or are incomplete."""
    if model.gguf is not None:
        return _from_gguf(model.gguf, architecture)
    expected = filed(architecture)
    from_shapes = Checkpoint(
        total_bytes=expected.total_bytes,
        source=f"{size(expected.total_bytes)} from the shapes in {model.told}; no safetensors headers were read",
    )
    if model.files is None:
        return from_shapes
    try:
        return _from_headers(model.files, architecture, expected)
    except NotMeasured as why:
        return msgspec.structs.replace(from_shapes, source=f"{from_shapes.source}: {why}")


def with_drafts(found: Checkpoint) -> Checkpoint:
    """The same where its draft layers are loaded."""
    return msgspec.structs.replace(found, source=found.source.replace(LEFT, ", which guess tokens"))


def _from_headers(files: ModelFiles, architecture: Architecture, expected: Filed) -> Checkpoint:
    missing = files.missing_shards
    if missing:
        what = f"weights: {len(missing)} files named by the index are missing ({missing[0]})"
        raise NotKnown(what, "complete the model directory")
    named = _found(files.draft_groups)
    found = _without(_found(files.tensor_groups), named)
    surplus = found.numbers - expected.numbers
    surplus = min(surplus, surplus - head_numbers(architecture), key=abs)
    packed = found.packed_bytes - expected.packed_bytes
    drafts = f"; {size(named.total_bytes)} more are draft layers{LEFT}" if files.draft_groups else ""
    beside = max(0, surplus * NUMBER_BYTES + packed) + named.total_bytes
    if not _explained(surplus, packed, architecture, expected):
        drafts = _drafts(surplus, packed, architecture, expected)
        if not drafts:
            raise _contradiction(files, found, expected)
        surplus = packed = 0
    explained = f"its config explains {_told(expected)}{drafts}"
    return Checkpoint(
        total_bytes=files.weights_bytes,
        extra_bytes=max(0, surplus * NUMBER_BYTES + packed),
        draft_bytes=beside,
        source=f"{_told(found)} in the safetensors headers of {files.path}; {explained}",
    )


def _found(groups: Sequence[TensorGroup]) -> Filed:
    return Filed(
        numbers=sum(group.parameters for group in groups if group.dtype in NUMBERS),
        number_bytes=sum(group.size_bytes for group in groups if group.dtype in NUMBERS),
        packed_bytes=sum(group.size_bytes for group in groups if group.dtype not in NUMBERS),
    )


def _without(whole: Filed, part: Filed) -> Filed:
    return Filed(
        numbers=whole.numbers - part.numbers,
        number_bytes=whole.number_bytes - part.number_bytes,
        packed_bytes=whole.packed_bytes - part.packed_bytes,
    )


def _explained(surplus: int, packed: int, architecture: Architecture, expected: Filed) -> bool:
    method = architecture.quantization.method if architecture.quantization else ""
    share = NEGLIGIBLE_OF.get(method, NEGLIGIBLE) * expected.total_bytes
    return abs(surplus) * NUMBER_BYTES <= share and abs(packed) <= share


def _drafts(surplus: int, packed: int, architecture: Architecture, expected: Filed) -> str:
    """What is more than negligible is draft layers, where the config names some and it is not more than they take."""
    least = -NEGLIGIBLE * expected.total_bytes
    more = surplus * NUMBER_BYTES + packed
    if not (least <= surplus * NUMBER_BYTES and least <= packed and more <= draft_bytes(architecture)):
        return ""
    return f"; {size(more)} are {' and '.join(architecture.left_out)}{LEFT}"


def _contradiction(files: ModelFiles, found: Filed, expected: Filed) -> NotKnown:
    return NotKnown(
        f"weights: headers in {files.path} hold {_told(found)}, its config.json describes {_told(expected)}",
        "is it the right config.json?",
    )


def _told(sums: Filed) -> str:
    if not sums.packed_bytes:
        return f"{sums.numbers:,} parameters"
    return f"{sums.packed_bytes:,} bytes of quantized weights and {sums.numbers:,} numbers in 16 or 32 bit"


def _from_gguf(gguf: GgufFile, architecture: Architecture) -> Checkpoint:
    """Exact by itself: the tensors say their types. Whether they are those of the architecture is what can be wrong."""
    expected = parameter_count(architecture)
    surplus = gguf.parameters - expected
    surplus = min(surplus, surplus - head_numbers(architecture), key=abs)
    if abs(surplus) > NEGLIGIBLE * expected:
        raise NotKnown(
            f"weights: {gguf.path} holds {gguf.parameters:,} parameters, its metadata describes {expected:,}",
            "is the file complete?",
        )
    return Checkpoint(
        total_bytes=gguf.tensor_bytes,
        source=f"{size(gguf.tensor_bytes)} in {gguf.told} of {gguf.path}",
    )
