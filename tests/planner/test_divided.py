"""Whatever a model is made of: do the parts of its ranks and stages add up to it?"""

from __future__ import annotations

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from diag.planner.model.architecture import Architecture, Weight
from diag.planner.model.formats import stored
from diag.planner.model.shards import (
    Split,
    divided,
    padded_vocab,
    parameter_count,
    rank_bytes,
    rank_weight_bytes,
    stage_layers,
    why_not,
)
from tests.planner.families.weighing import small

CHECKED = settings(max_examples=100, deadline=None, derandomize=True, database=None)
POWERS = st.sampled_from([1, 2, 4, 8, 16])
SIZES = st.integers(1, 40).map(lambda size: 16 * size)
"""Sixteen ranks divide them."""
FORMATS = st.sampled_from(
    [None, stored.FP8_ROWS, stored.fp8_block(1, 1), stored.Format(name="int8", bits=8, block=(1, 0), scale_bytes=2)]
)


@st.composite
def matrices(draw: st.DrawFn) -> Weight:
    """What every number of ranks up to 16 divides, if at all."""
    shard = draw(st.sampled_from(["whole", "rows", "heads", "vocab"]))
    rows = draw(SIZES) if shard != "vocab" else draw(st.integers(1, 2000))
    return Weight(
        name="w",
        rows=rows,
        columns=draw(SIZES),
        count=draw(st.integers(1, 8)),
        shard=shard,
        heads=16 if shard == "heads" else 0,
        bias=draw(st.booleans()) and shard != "vocab",
        format=draw(FORMATS) if shard != "vocab" else None,
    )


@st.composite
def models(draw: st.DrawFn) -> Architecture:
    kv_heads = draw(st.sampled_from([1, 2, 4, 8, 16]))
    heads = kv_heads * draw(st.sampled_from([1, 2, 4]))
    keys = {
        "num_hidden_layers": draw(st.integers(1, 20)),
        "hidden_size": draw(SIZES),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": draw(st.sampled_from([16, 64, 128])),
        "intermediate_size": draw(SIZES),
        "vocab_size": draw(st.integers(1, 5000)),
        "tie_word_embeddings": draw(st.booleans()),
    }
    if draw(st.booleans()):
        return small("qwen3", "Qwen3ForCausalLM", **keys)
    experts = {"num_experts": draw(st.integers(1, 32)), "num_experts_per_tok": 1, "moe_intermediate_size": draw(SIZES)}
    return small("qwen3_moe", "Qwen3MoeForCausalLM", **keys, **experts)


@CHECKED
@given(matrices(), POWERS)
def test_parts_of_a_matrix_are_the_matrix(weight, tp):
    whole, part = (rank_bytes(weight, Split(tp=ranks), 2) for ranks in (1, tp))
    assert part * (tp if divided(weight, tp) else 1) == whole


@CHECKED
@given(SIZES, SIZES, POWERS)
def test_parts_of_a_matrix_divided_by_columns_are_the_matrix_and_a_bias_each(rows, columns, tp):
    weight = Weight(name="w", rows=rows, columns=columns, shard="columns", bias=True)
    part = rank_bytes(weight, Split(tp=tp), 2)
    assert tp * part == 2 * (rows * columns + tp * rows)


@CHECKED
@given(st.integers(1, 512), SIZES, st.integers(1, 64))
def test_whole_experts_are_shared_so_that_the_fullest_rank_has_at_most_one_more(count, rows, ep):
    weight = Weight(name="w", rows=rows, columns=32, count=count, shard="rows", expert=True)
    one = rows * 32 * 2
    fullest = rank_bytes(weight, Split(tp=ep, ep=ep), 2)
    assert fullest % one == 0
    assert (fullest // one - 1) * ep < count <= fullest // one * ep


@CHECKED
@given(models(), POWERS)
def test_ranks_hold_the_model_what_none_divides_and_what_is_repeated(model, tp):
    """Everything is either divided evenly, on every rank, or a kv head on several of them."""
    assume(why_not(model, tp=tp) is None)
    weights = [one for layer in model.layers for one in layer.weights] + [*model.first, *model.last]
    kept = [one for one in weights if not (model.tied and one.name == "lm_head")]
    whole = sum(
        rank_bytes(one, Split(tp=1), 2)
        * (tp if not divided(one, tp) else max(1, tp // one.heads) if one.shard == "heads" else 1)
        for one in kept
    )
    assert tp * rank_weight_bytes(model, tp=tp) == whole


@CHECKED
@given(models(), st.integers(1, 8))
def test_stages_hold_the_layers_once_and_the_ends_where_they_are(model, pp):
    assume(why_not(model, tp=1, pp=pp) is None)
    stages = sum(rank_weight_bytes(model, tp=1, pp=pp, stage=stage) for stage in range(pp))
    embedding = padded_vocab(model.vocab) * model.hidden * 2
    norm = model.hidden * 2
    everywhere = model.model_type == "qwen3_moe"
    copies = ((1 if model.tied else 2) * embedding + norm) * (pp - 1)
    tied = embedding if model.tied and pp > 1 else 0
    assert stages - rank_weight_bytes(model, tp=1) == (copies if everywhere else tied)


@CHECKED
@given(st.integers(1, 200), st.integers(1, 32))
def test_stages_have_all_layers_as_evenly_as_can_be(layers, pp):
    stages = stage_layers(layers, pp)
    assert (len(stages), sum(stages)) == (pp, layers)
    assert max(stages) - min(stages) <= 1
    assert pp == 1 or stages[-1] == min(stages)


@CHECKED
@given(models(), POWERS)
def test_more_ranks_never_hold_more_each(model, tp):
    assume(why_not(model, tp=2 * tp) is None and why_not(model, tp=tp) is None)
    assert rank_weight_bytes(model, tp=2 * tp) <= rank_weight_bytes(model, tp=tp)


@CHECKED
@given(models())
def test_one_rank_holds_the_parameters_and_what_pads_the_vocabulary(model):
    padding = (padded_vocab(model.vocab) - model.vocab) * model.hidden * (1 if model.tied else 2)
    assert rank_weight_bytes(model, tp=1) == 2 * (parameter_count(model) + padding)


@CHECKED
@given(SIZES, SIZES)
def test_fewer_bits_never_take_more(rows, columns):
    in_order = [None, stored.FP8_ROWS, stored.MXFP8, stored.FP8, stored.NVFP4, stored.MXFP4]
    weight = Weight(name="w", rows=rows, columns=32 * columns)
    held = [rank_bytes(msgspec.structs.replace(weight, format=form), Split(tp=1), 2) for form in (None, *in_order[3:])]
    assert held == sorted(held, reverse=True)
