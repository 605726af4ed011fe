"""What does TurboMind make of weights while it loads them? Bytes that are in no file.

- Groups of 4 bits get a scale and a zero point of 16 bit each, whatever the file has (fuse_scales_and_zeros).
- From 0.12.2 latent attention has no kv_b_proj: it is multiplied into the queries' matrix and into the output's, which
  become as wide as the compressed entry for each head (mla.py, fold_kv_b; deploy/module.py before 0.14). What the
  output then lacks of the whole entry is padded (pad_wo_input).
- Before, the output was padded to the width of the queries.
- A head that is the embedding is held a second time (text_model.py, add_lm_head; Misc.apply before 0.14).
- The inner size of an MLP is padded so that each rank gets whole groups (_pad_inter_size, _pad_ffn_for_tp).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from diag.planner.model.architecture import Architecture, LatentCache, Layer, Weight
from diag.planner.model.formats.stored import Format
from diag.planner.model.formats.support import release

GROUPED = ("awq", "gptq", "int4_weights")
GATES, DOWN = ("gate_proj", "up_proj", "gate_up_proj", "w1", "w3"), ("down_proj", "w2")
SCALE_BYTES, ZERO_BITS = 2, 16
FOLDS = (0, 12, 2)


def in_turbomind(architecture: Architecture, version: str | None) -> Architecture:
    """``version`` of LMDeploy; None: the newest."""
    folds = version is None or (*release(version), 0, 0)[:3] >= FOLDS
    kinds: dict[int, tuple[Weight, ...]] = {}
    for layer in architecture.layers:
        kinds.setdefault(id(layer.weights), tuple(_weights(architecture, layer, folds=folds)))
    return msgspec.structs.replace(
        architecture,
        layers=tuple(msgspec.structs.replace(one, weights=kinds[id(one.weights)]) for one in architecture.layers),
        last=tuple(_grouped(one) for one in architecture.last),
        tied=False,
    )


def _weights(architecture: Architecture, layer: Layer, *, folds: bool) -> Iterator[Weight]:
    latent = next((one for one in layer.caches if isinstance(one, LatentCache)), None)
    queries = next((one for one in layer.weights if one.name.endswith((".q_b_proj", ".q_proj"))), None)
    heads = architecture.heads
    for weight in layer.weights:
        if latent is None or queries is None:
            yield _grouped(weight)
            continue
        width = heads * latent.dim if folds else queries.rows
        if weight.name.endswith(".o_proj"):
            yield _grouped(msgspec.structs.replace(weight, columns=width))
        elif folds and weight is queries:
            yield _grouped(msgspec.structs.replace(weight, rows=width))
        elif not folds or not weight.name.endswith(".kv_b_proj"):
            yield _grouped(weight)


def _grouped(weight: Weight) -> Weight:
    form = weight.format
    if form is None:
        return weight
    if form.name in GROUPED:
        form = msgspec.structs.replace(form, scale_bytes=SCALE_BYTES, zero_bits=ZERO_BITS)
    return msgspec.structs.replace(weight, format=_padded(weight.name.rpartition(".")[-1], form))


def _padded(name: str, form: Format) -> Format:
    group = max(1, form.block[1])
    if name in GATES:
        return msgspec.structs.replace(form, multiple=(group * (2 if name == "gate_up_proj" else 1), 1))
    return msgspec.structs.replace(form, multiple=(1, group)) if name in DOWN else form
