"""Do the safetensors headers found on a node hold the weights that the config describes?"""

from __future__ import annotations

import msgspec

from diag.facts.model import ModelFiles
from diag.facts.record import NotMeasured
from diag.planner.models import Model
from diag.planner.shapes import Shapes
from diag.planner.unknown import NotKnown
from diag.planner.weights import parameter_count

UNQUANTIZED = {"BF16", "F16", "F32"}
NEGLIGIBLE = 0.001
"""Share of parameters that may differ: buffers that older checkpoints carry along."""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """``total_bytes`` on disk; ``extra_bytes`` more than the shapes explain, on every rank in the worst case."""

    total_bytes: int
    extra_bytes: int = 0
    source: str


def checkpoint(model: Model, shapes: Shapes) -> Checkpoint:
    """``NotKnown`` where the files contradict the config or are incomplete."""
    expected = parameter_count(shapes)
    from_shapes = Checkpoint(
        total_bytes=expected * shapes.dtype_bytes,
        source=f"{expected:,} parameters from the shapes in {model.told}; no safetensors headers were read",
    )
    if model.files is None:
        return from_shapes
    try:
        return _from_headers(model.files, shapes, expected)
    except NotMeasured as why:
        return msgspec.structs.replace(from_shapes, source=f"{from_shapes.source}: {why}")


def _from_headers(files: ModelFiles, shapes: Shapes, expected: int) -> Checkpoint:
    missing = files.missing_shards
    if missing:
        what = f"weights: {len(missing)} files named by the index are missing ({missing[0]})"
        raise NotKnown(what, "complete the model directory")
    odd = sorted({group.dtype for group in files.tensor_groups} - UNQUANTIZED)
    if odd:
        raise NotKnown(f"tensors of {', '.join(odd)} in {files.path}, whose config names no quantization")
    found = sum(group.parameters for group in files.tensor_groups)
    second_head = shapes.vocab * shapes.hidden if shapes.tied else 0  # some tied checkpoints store the head as well
    surplus = min((found - expected, found - expected - second_head), key=abs)
    if abs(surplus) > NEGLIGIBLE * expected:
        raise NotKnown(
            f"weights: headers in {files.path} hold {found:,} parameters, its config.json describes {expected:,}",
            "is it the right config.json?",
        )
    return Checkpoint(
        total_bytes=files.weights_bytes,
        extra_bytes=max(0, surplus) * shapes.dtype_bytes,
        source=f"{found:,} parameters in the safetensors headers of {files.path}; its config explains {expected:,}",
    )
