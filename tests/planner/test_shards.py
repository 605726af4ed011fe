"""What one rank of a model holds, by hand: divided, padded, repeated, whole; and which splits cannot be."""

from __future__ import annotations

import pytest

from diag.planner.model.architecture import Weight
from diag.planner.model.formats import stored
from diag.planner.model.shards import (
    Split,
    checkpoint_bytes,
    padded_vocab,
    parameter_count,
    rank_bytes,
    rank_weight_bytes,
    shard_shape,
    stage_layers,
    why_not,
)
from tests.planner import oracle
from tests.planner.families.weighing import INNER, SMALL, A, D, H, K, V, small

MOE = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


def of(weight: Weight, tp: int = 1, **split: int) -> int:
    return rank_bytes(weight, Split(tp=tp, **split), 2)


@pytest.mark.parametrize(
    ("weight", "shape"),
    [
        (Weight(name="w", rows=64, columns=32), (64, 32)),
        (Weight(name="w", rows=64, columns=32, shard="rows"), (16, 32)),
        (Weight(name="w", rows=64, columns=32, shard="columns"), (64, 8)),
        (Weight(name="w", rows=64, columns=32, shard="heads", heads=8), (16, 32)),
        (Weight(name="w", rows=64, columns=32, shard="heads", heads=2), (32, 32)),
        (Weight(name="w", rows=1000, columns=32, shard="vocab"), (256, 32)),
        (Weight(name="w", rows=64, columns=32, shard="rows", part_multiple=10), (20, 32)),
        (Weight(name="w", rows=64, columns=32, shard="rows", part_least=24), (24, 32)),
        (Weight(name="w", rows=64, columns=32, shard="rows", undivided_unless=6), (64, 32)),
        (Weight(name="w", rows=64, columns=32, shard="rows", undivided_unless=8), (16, 32)),
    ],
)
def test_four_ranks_divide_a_matrix_by_its_rule(weight, shape):
    assert shard_shape(weight, 4) == shape


def test_one_rank_holds_all_of_it_and_pads_the_vocabulary():
    assert shard_shape(Weight(name="w", rows=64, columns=32, shard="rows", part_least=80), 1) == (64, 32)
    assert shard_shape(Weight(name="w", rows=1000, columns=32, shard="vocab"), 1) == (1024, 32)


@pytest.mark.parametrize(("rows", "padded"), [(1, 64), (64, 64), (65, 128), (151_936, 151_936), (50_257, 50_304)])
def test_the_vocabulary_is_padded_to_a_multiple_of_64(rows, padded):
    assert padded_vocab(rows) == padded


def test_a_bias_is_divided_with_the_rows_and_whole_where_columns_are():
    assert of(Weight(name="w", rows=64, columns=32, shard="rows", bias=True), tp=4) == (16 * 32 + 16) * 2
    assert of(Weight(name="w", rows=64, columns=32, shard="columns", bias=True), tp=4) == (64 * 8 + 64) * 2


def test_a_bias_is_padded_with_its_rows():
    form = stored.Format(name="mxfp4", bits=4, block=(1, 32), scale_bytes=1, multiple=(128, 64))
    expert = Weight(name="w", rows=100, columns=64, count=3, expert=True, bias=True, format=form)
    assert of(expert) == 3 * (128 * 64 // 2 + 128 * 2 + 128 * 2)


def test_a_type_of_its_own_counts_for_matrix_and_bias():
    assert of(Weight(name="w", rows=8, columns=4, bias=True, dtype_bytes=4)) == (8 * 4 + 8) * 4


EXPERT = Weight(name="w", rows=64, columns=32, count=8, shard="rows", expert=True)


@pytest.mark.parametrize(
    ("split", "held"),
    [
        ({"tp": 4}, 8 * 16 * 32 * 2),
        ({"tp": 4, "ep": 4}, 2 * 64 * 32 * 2),
        ({"tp": 4, "ep": 2}, 4 * 32 * 32 * 2),
        ({"tp": 1, "ep": 8, "expert_tp": 1}, 1 * 64 * 32 * 2),
        ({"tp": 2, "expert_tp": 8}, 8 * 8 * 32 * 2),
        ({"tp": 1, "ep": 3, "expert_tp": 1}, 3 * 64 * 32 * 2),
    ],
)
def test_ranks_get_whole_experts_or_parts_of_all(split, held):
    """The fullest rank has one expert more where they do not divide."""
    assert rank_bytes(EXPERT, Split(**split), 2) == held


def test_kernels_that_want_multiples_pad_both_sides_of_an_expert():
    up = rank_bytes(EXPERT, Split(tp=4, expert_multiples=(24, 40)), 2)
    down = rank_bytes(
        Weight(name="w", rows=32, columns=64, count=8, shard="columns", expert=True),
        Split(tp=4, expert_multiples=(24, 40)),
        2,
    )
    assert up == down == 8 * 24 * 40 * 2


def test_a_rank_of_a_small_llama_by_hand():
    """TP 4: a head of q each, one of two kv heads each, a quarter of the MLP, of 1024 words."""
    model = small("llama", "LlamaForCausalLM")
    layer = D * H + 2 * D * H + H * D + 3 * (INNER // 4) * H + 2 * H
    assert rank_weight_bytes(model, tp=4) == 2 * (4 * layer + 2 * 256 * H + H)


def test_a_tied_head_stands_on_both_ends_of_a_pipeline():
    untied, tied = (small("llama", "LlamaForCausalLM", tie_word_embeddings=word) for word in (False, True))
    assert [rank_weight_bytes(tied, tp=1, pp=2, stage=stage) for stage in (0, 1)] == [
        rank_weight_bytes(untied, tp=1, pp=2, stage=stage) for stage in (0, 1)
    ]
    assert rank_weight_bytes(untied, tp=1) - rank_weight_bytes(tied, tp=1) == 1024 * H * 2


def test_some_classes_build_embedding_and_head_on_every_stage():
    model = small("qwen3_moe", "Qwen3MoeForCausalLM", **{**MOE, "num_experts": 8})
    layers = [rank_weight_bytes(model, tp=1, pp=4, stage=stage) for stage in range(4)]
    assert len(set(layers)) == 1
    assert layers[0] > 2 * 1024 * H * 2


@pytest.mark.parametrize(
    ("layers", "pp", "stages"),
    [
        (80, 1, (80,)),
        (80, 4, (20, 20, 20, 20)),
        (61, 2, (31, 30)),
        (61, 4, (15, 15, 16, 15)),
        (62, 4, (15, 16, 16, 15)),
        (63, 4, (16, 16, 16, 15)),
        (94, 8, (11, 12, 12, 12, 12, 12, 12, 11)),
    ],
)
def test_layers_that_do_not_divide_go_to_the_stages_before_the_last(layers, pp, stages):
    """vLLM, get_pp_indices."""
    assert stage_layers(layers, pp) == stages


def test_stages_of_a_pipeline_hold_the_model_together():
    model = small("llama", "LlamaForCausalLM", num_hidden_layers=7)
    stages = [rank_weight_bytes(model, tp=1, pp=3, stage=stage) for stage in range(3)]
    assert sum(stages) == rank_weight_bytes(model, tp=1)


def test_padding_and_repetition_are_not_in_the_checkpoint():
    model = small("llama", "LlamaForCausalLM")
    assert checkpoint_bytes(model) == 2 * parameter_count(model)
    assert rank_weight_bytes(model, tp=1) - checkpoint_bytes(model) == 2 * 24 * H * 2


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [16, 16]}


@pytest.mark.parametrize(
    ("keys", "split", "why"),
    [
        ({}, {"tp": 4}, None),
        ({}, {"tp": 3}, "4 attention heads do not divide by tensor parallel 3"),
        ({}, {"tp": 8}, "4 attention heads do not divide by tensor parallel 8"),
        ({"num_attention_heads": 8, "num_key_value_heads": 2}, {"tp": 8}, None),
        (
            {"num_attention_heads": 16, "num_key_value_heads": 6, "head_dim": 16},
            {"tp": 4},
            "6 kv heads neither divide by tensor parallel 4 nor repeat evenly over it",
        ),
        ({}, {"tp": 1, "pp": 5}, "4 layers are fewer than 5 pipeline stages"),
        ({}, {"tp": 1, "pp": 4}, None),
        ({"intermediate_size": 90}, {"tp": 4}, "mlp.gate_proj: 90 rows do not divide by 4"),
        (
            {"intermediate_size": 96, "quantization_config": FP8},
            {"tp": 4},
            "mlp.gate_proj: 24 of 96 rows on a rank are not whole blocks of 16 (fp8_block)",
        ),
        ({"intermediate_size": 128, "quantization_config": FP8}, {"tp": 4}, None),
    ],
)
def test_what_does_not_divide_is_refused_with_its_numbers(keys, split, why):
    assert why_not(small("llama", "LlamaForCausalLM", **keys), **split) == why


def test_experts_must_divide_by_the_ranks_that_share_them():
    model = small("qwen3_moe", "Qwen3MoeForCausalLM", **MOE)
    assert why_not(model, tp=1, ep=4, expert_tp=1) == "6 experts do not divide by expert parallel 4"
    assert why_not(model, tp=2, ep=2) is None
    assert why_not(model, tp=1, expert_tp=64) == "mlp.experts.0.gate_proj: 32 rows do not divide by 64"


def test_finer_blocks_of_experts_help_where_the_engine_makes_them():
    blocks = {"quantization_config": {**FP8, "weight_block_size": [64, 64]}}
    wide = {**MOE, "moe_intermediate_size": 64, "num_attention_heads": 8, "head_dim": 16}
    model = small("qwen3_moe", "Qwen3MoeForCausalLM", **wide, **blocks)
    why = "mlp.experts.0.gate_proj: 32 of 64 rows on a rank are not whole blocks of 64 (fp8_block)"
    assert why_not(model, tp=2) == why
    assert why_not(model, tp=2, refines=True) is None


@pytest.mark.parametrize(
    ("name", "split", "why"),
    [
        ("tiiuae__falcon-180B", {"tp": 8}, None),
        ("tiiuae__falcon-180B", {"tp": 16}, "232 attention heads do not divide by tensor parallel 16"),
        ("tiiuae__falcon-7b", {"tp": 2}, "71 attention heads do not divide by tensor parallel 2"),
        (
            "microsoft__phi-4",
            {"tp": 4},
            "10 kv heads neither divide by tensor parallel 4 nor repeat evenly over it",
        ),
    ],
)
def test_published_models_that_engines_refuse_are_refused(name, split, why):
    assert why_not(oracle.model(name), **split) == why


def test_kv_heads_are_repeated_where_there_are_more_ranks():
    assert SMALL["num_key_value_heads"] == K < A
    model = small("llama", "LlamaForCausalLM")
    k = next(one for one in model.layers[0].weights if one.name == "self_attn.k_proj")
    assert [of(k, tp) for tp in (1, 2, 4)] == [K * D * H * 2, D * H * 2, D * H * 2]
    assert V % 64
