"""How many parameters has a model, and how many bytes of them does one rank hold?

Symbols: H hidden, D head_dim, A heads, K kv heads, I intermediate, E experts, V vocabulary, T tensor parallel.
Attention has A·D·H twice (q, o) and K·D·H twice (k, v), the MLP 3·H·I (E times, and a router of E·H), norms 2·H a layer
(2·D more with qk norms) and H at the end. Shard rules: vLLM's linear.py and vocab_parallel_embedding.py.
"""

from __future__ import annotations

from diag.planner.shapes import Shapes

VOCAB_MULTIPLE = 64
"""vLLM pads the vocabulary to this before it divides by T (DEFAULT_VOCAB_PADDING_SIZE)."""


def parameter_count(shapes: Shapes) -> int:
    """Parameters of the checkpoint: unpadded, undivided."""
    embeddings = shapes.vocab * shapes.hidden * (1 if shapes.tied else 2)
    return shapes.layers * layer_parameters(shapes, tp=1) + embeddings + shapes.hidden


def layer_parameters(shapes: Shapes, *, tp: int) -> int:
    """Parameters of one decoder layer on one of ``tp`` ranks. Biases after a reduction and norms are on every rank."""
    return _attention(shapes, tp) + _mlp(shapes, tp) + 2 * shapes.hidden


def _attention(shapes: Shapes, tp: int) -> int:
    queries = shapes.heads // tp * shapes.head_dim
    keys_and_values = 2 * kv_heads_per_rank(shapes, tp) * shapes.head_dim
    biases = (queries + keys_and_values) * shapes.qkv_bias + shapes.hidden * shapes.o_bias
    norms = 2 * shapes.head_dim * shapes.qk_norm
    return (2 * queries + keys_and_values) * shapes.hidden + biases + norms


def _mlp(shapes: Shapes, tp: int) -> int:
    inner = shapes.intermediate // tp
    one = 3 * shapes.hidden * inner + (2 * inner + shapes.hidden) * shapes.mlp_bias
    if not shapes.experts:
        return one
    return shapes.experts * (one + shapes.hidden)  # the router has one row of H for each expert, on every rank


def kv_heads_per_rank(shapes: Shapes, tp: int) -> int:
    """Replicated when there are more ranks than kv heads."""
    return max(1, shapes.kv_heads // tp)


def padded_vocab(shapes: Shapes) -> int:
    return -(-shapes.vocab // VOCAB_MULTIPLE) * VOCAB_MULTIPLE


def stage_layers(layers: int, pp: int) -> tuple[int, ...]:
    """Layers of each pipeline stage: what does not divide goes to the stages before the last, from the back."""
    stages = [layers // pp] * pp
    for back in range(layers % pp):
        stages[-2 - back] += 1
    return tuple(stages)


def stage_weight_bytes(shapes: Shapes, *, tp: int, pp: int, stage: int) -> int:
    """Bytes of one rank of pipeline stage ``stage``; with tied embeddings both ends of the pipeline hold them."""
    table = padded_vocab(shapes) // tp * shapes.hidden
    first, last = stage == 0, stage == pp - 1
    parameters = stage_layers(shapes.layers, pp)[stage] * layer_parameters(shapes, tp=tp)
    if first:
        parameters += table
    if last:
        parameters += shapes.hidden + (0 if shapes.tied and first else table)
    return parameters * shapes.dtype_bytes
