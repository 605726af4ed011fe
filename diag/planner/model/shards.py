"""How many bytes of a model's weights does one rank hold, and which splits cannot be?

Tensor parallel ranks divide each matrix as its ``shard`` says, pipeline stages divide the layers, expert parallel ranks
get whole experts. Rules: vLLM's linear.py, vocab_parallel_embedding.py, distributed/utils.py (get_pp_indices) and
fused_moe/expert_map_manager.py. Ask ``why_not`` first: the bytes of a split that cannot be mean nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from diag.planner.model.architecture import Architecture, AttentionCache, Layer, Weight
from diag.planner.model.families.config import DTYPE_BYTES
from diag.planner.model.formats.stored import Format, matrix_bytes, refined, why_not_divided

VOCAB_MULTIPLE = 64
"""The vocabulary is padded to this before it is divided (DEFAULT_VOCAB_PADDING_SIZE)."""


def parameter_count(architecture: Architecture) -> int:
    """Of the checkpoint: unpadded, undivided, a tied head once."""
    return sum(
        (weight.rows * weight.columns + weight.rows * weight.bias) * weight.count for weight in _all(architecture)
    )


def checkpoint_bytes(architecture: Architecture) -> int:
    """Of the checkpoint's tensors, undivided and unpadded."""
    dtype_bytes = DTYPE_BYTES[architecture.stored_dtype or architecture.dtype]
    return sum(weight.count * _bytes(weight, weight.rows, weight.columns, dtype_bytes) for weight in _all(architecture))


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Ranks that divide a model. ``expert_tp`` divide one expert: those of ``tp`` that ``ep`` leaves over, unless 0.

    ``expert_multiples``: what a rank holds of an expert's inner size and of its hidden size is padded to these, where
    an engine's kernels want it (vLLM, MXFP4 in Marlin: 128 and 256).
    """

    tp: int
    ep: int = 1
    expert_tp: int = 0
    expert_multiples: tuple[int, int] = (1, 1)

    def ranks(self, weight: Weight) -> int:
        return (self.expert_tp or max(1, self.tp // self.ep)) if weight.expert else self.tp


def rank_weight_bytes(
    architecture: Architecture,
    *,
    tp: int,
    pp: int = 1,
    ep: int = 1,
    stage: int = 0,
    expert_tp: int = 0,
    expert_multiples: tuple[int, int] = (1, 1),
) -> int:
    """Bytes of the fullest rank of pipeline stage ``stage``, padding and replicated weights included: see ``Split``."""
    split = Split(tp=tp, ep=ep, expert_tp=expert_tp, expert_multiples=expert_multiples)
    dtype_bytes = DTYPE_BYTES[architecture.dtype]
    of_kind: dict[int, int] = {}
    total = sum(rank_bytes(weight, split, dtype_bytes) for weight in _ends(architecture, pp, stage))
    for layer in _layers_of(architecture, pp, stage):
        kind = id(layer.weights)  # layers of a kind share one tuple
        if kind not in of_kind:
            of_kind[kind] = sum(rank_bytes(weight, split, dtype_bytes) for weight in layer.weights)
        total += of_kind[kind]
    return total


def rank_bytes(weight: Weight, split: Split, dtype_bytes: int) -> int:
    """Bytes of one weight on the fullest rank."""
    rows, columns = shard_shape(weight, split.ranks(weight))
    count = weight.count
    if weight.expert:
        count = -(-count // split.ep)
        inner, hidden = split.expert_multiples
        down = weight.shard == "columns"
        rows, columns = _up(rows, hidden if down else inner), _up(columns, inner if down else hidden)
    return count * _bytes(weight, rows, columns, dtype_bytes)


def shard_shape(weight: Weight, ranks: int) -> tuple[int, int]:
    """Rows and columns of one of ``ranks`` shards, padding included."""
    if weight.shard == "vocab":
        return padded_vocab(weight.rows) // ranks, weight.columns
    if not divided(weight, ranks):
        return weight.rows, weight.columns
    if weight.shard == "heads":
        return weight.rows // weight.heads * max(1, weight.heads // ranks), weight.columns
    if weight.shard == "columns":
        return weight.rows, _part(weight, weight.columns, ranks)
    return _part(weight, weight.rows, ranks), weight.columns


def divided(weight: Weight, ranks: int) -> bool:
    if ranks == 1 or weight.shard == "whole":
        return False
    return not (weight.undivided_unless and weight.undivided_unless % ranks)


def _part(weight: Weight, side: int, ranks: int) -> int:
    return max(weight.part_least, _up(-(-side // ranks), weight.part_multiple))


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def padded_vocab(rows: int) -> int:
    return _up(rows, VOCAB_MULTIPLE)


def stage_layers(layers: int, pp: int) -> tuple[int, ...]:
    """Layers of each pipeline stage: what does not divide goes to the stages before the last, from the back."""
    stages = [layers // pp] * pp
    for back in range(layers % pp):
        stages[-2 - back] += 1
    return tuple(stages)


def why_not(
    architecture: Architecture, *, tp: int, pp: int = 1, ep: int = 1, expert_tp: int = 0, refines: bool = False
) -> str | None:
    """The first rule of division that this split breaks, with its numbers; None: it divides.

    ``refines``: the engine makes the blocks of FP8 experts finer where ranks do not hold whole ones.
    """
    split = Split(tp=tp, ep=ep, expert_tp=expert_tp)
    return next(_objections(architecture, split, pp, refines), None)


def _objections(architecture: Architecture, split: Split, pp: int, refines: bool) -> Iterator[str]:
    if len(architecture.layers) < pp:
        yield f"{len(architecture.layers)} layers are fewer than {pp} pipeline stages"
    if architecture.heads % split.tp:
        yield f"{architecture.heads} attention heads do not divide by tensor parallel {split.tp}"
    if architecture.experts % split.ep:
        yield f"{architecture.experts} experts do not divide by expert parallel {split.ep}"
    yield from _kv_heads(architecture, split.tp)
    for weight in _kinds(architecture):
        yield from _undivided(weight, split.ranks(weight), refines)


def _kv_heads(architecture: Architecture, tp: int) -> Iterator[str]:
    caches = {cache for layer in architecture.layers for cache in layer.caches if isinstance(cache, AttentionCache)}
    for heads in sorted({cache.kv_heads for cache in caches}):
        if heads % tp and tp % heads:
            yield f"{heads} kv heads neither divide by tensor parallel {tp} nor repeat evenly over it"


def _undivided(weight: Weight, ranks: int, refines: bool) -> Iterator[str]:
    """Whole rows, columns and heads for each rank, and whole blocks of a quantized matrix."""
    if not divided(weight, ranks):
        return
    parts, of = _parts(weight)
    if parts % ranks and not (weight.shard == "heads" and weight.repeats and ranks % parts == 0):
        yield f"{weight.name}: {parts} {of} do not divide by {ranks}"
        return
    blocks = why_not_divided(weight.format, weight.rows, weight.columns, tp=ranks, shard=weight.shard)
    if blocks and not _whole_blocks(weight, ranks, refines):
        yield f"{weight.name}: {blocks}"


def _whole_blocks(weight: Weight, ranks: int, refines: bool) -> bool:
    """By padding, or by finer blocks."""
    if weight.format is None or weight.part_multiple > 1:
        return True
    return refines and weight.expert and refined(weight.format, *shard_shape(weight, ranks)) is not None


def _parts(weight: Weight) -> tuple[int, str]:
    if weight.shard == "heads":
        return weight.heads, "heads"
    if weight.shard == "columns":
        return weight.columns, "columns"
    if weight.shard == "vocab":
        return padded_vocab(weight.rows), "rows of the padded vocabulary"
    return weight.rows, "rows"


def _bytes(weight: Weight, rows: int, columns: int, dtype_bytes: int) -> int:
    """Of one matrix, or of a part with so many rows and columns, and of its bias, whose rows are padded as its are."""
    each = dtype_bytes if weight.dtype_bytes is None else weight.dtype_bytes
    stored = _format(weight, rows, columns)
    biased = _up(rows, stored.multiple[0] if stored else 1) if weight.bias else 0
    return matrix_bytes(stored, each, rows, columns) + int(biased * each)


def _format(weight: Weight, rows: int, columns: int) -> Format | None:
    """With finer blocks where a part of an expert is not whole ones."""
    stored = weight.format
    if stored is None or not weight.expert or not any(stored.block) or not _partial(stored, rows, columns):
        return stored
    return refined(stored, rows, columns) or stored


def _partial(stored: Format, rows: int, columns: int) -> bool:
    return any(side and size % side for size, side in zip((rows, columns), stored.block, strict=True))


def _layers_of(architecture: Architecture, pp: int, stage: int) -> tuple[Layer, ...]:
    stages = stage_layers(len(architecture.layers), pp)
    start = sum(stages[:stage])
    return architecture.layers[start : start + stages[stage]]


def _ends(architecture: Architecture, pp: int, stage: int) -> Iterator[Weight]:
    """What stands before and behind the layers of a stage; a tied head only where the embedding is not."""
    first, last = stage == 0, stage == pp - 1
    embedded = False
    for weight in architecture.first:
        if first or weight.every_stage:
            embedded = embedded or weight.shard == "vocab"
            yield weight
    for weight in architecture.last:
        repeated = architecture.tied and embedded and weight.shard == "vocab"
        if (last or weight.every_stage) and not repeated:
            yield weight


def _all(architecture: Architecture) -> Iterator[Weight]:
    """What the checkpoint holds."""
    layers = (weight for layer in architecture.layers for weight in layer.weights)
    return (weight for weight in (*layers, *_ends(architecture, 1, 0)) if weight.stored)


def _kinds(architecture: Architecture) -> Iterable[Weight]:
    """Every weight once, in the order of the model; layers of a kind share one tuple."""
    of_layers = {id(layer.weights): layer.weights for layer in architecture.layers}.values()
    return (*architecture.first, *(weight for weights in of_layers for weight in weights), *architecture.last)
