"""Decoders whose blocks differ from each other, or come from before gated MLPs; and encoders."""

from __future__ import annotations

import pytest

from diag.planner.model.families import read
from diag.planner.model.shards import parameter_count
from diag.planner.unknown import NotKnown
from tests.planner.families.weighing import ATTENTION, GATED, INNER, SMALL, A, D, H, K, V, elements, small, total

FALCON = {"hidden_size": H, "num_attention_heads": A, "num_hidden_layers": 2, "vocab_size": V, "bias": False}


def falcon(**keys: object):
    return read({**FALCON, "model_type": "falcon", "architectures": ["FalconForCausalLM"], **keys})


def test_a_falcon_has_one_kv_head_two_matrices_of_four_times_its_width_and_one_norm():
    model = falcon(multi_query=True)
    assert total(model, 0) == A * D * H + 2 * D * H + H * H + 2 * 4 * H * H + 2 * H
    assert (model.kv_heads, model.tied) == (1, True)


def test_the_new_falcon_has_kv_heads_of_its_own_and_two_norms():
    model = falcon(new_decoder_architecture=True, num_kv_heads=K)
    assert total(model, 0) == ATTENTION + 2 * 4 * H * H + 2 * 2 * H
    assert model.layers[0].caches[0].kv_heads == K


def test_an_older_falcon_spells_its_keys_otherwise():
    keys = {"hidden_size": H, "n_head": A, "n_layer": 2, "vocab_size": V, "bias": False, "multi_query": True}
    old = read({**keys, "model_type": "RefinedWebModel", "architectures": ["RWForCausalLM"]})
    assert old.layers == falcon(multi_query=True).layers


OPT = {"ffn_dim": INNER, "word_embed_proj_dim": H, "tie_word_embeddings": True}


def test_an_opt_has_biases_everywhere_and_a_table_of_positions():
    model = small("opt", "OPTForCausalLM", **{**OPT, "max_position_embeddings": 128})
    attention = 4 * H * H + 4 * H
    assert total(model, 0) == attention + 2 * H * INNER + INNER + H + 2 * 2 * H
    assert parameter_count(model) == 4 * total(model, 0) + V * H + (128 + 2) * H + 2 * H


def test_the_smallest_opt_is_of_another_kind():
    with pytest.raises(NotKnown, match="350m"):
        small("opt", "OPTForCausalLM", **OPT, do_layer_norm_before=False)
    with pytest.raises(NotKnown, match="word_embed_proj_dim"):
        small("opt", "OPTForCausalLM", **{**OPT, "word_embed_proj_dim": 32})


NO_OP = {"attention": {"no_op": True}, "ffn": {"no_op": True}}
WHOLE = {"attention": {"n_heads_in_group": 2}, "ffn": {"ffn_mult": 1.5}}


def test_a_searched_block_lacks_what_it_leaves_out():
    model = small("nemotron-nas", "DeciLMForCausalLM", block_configs=[WHOLE, NO_OP, WHOLE, NO_OP])
    assert [total(model, layer) > 0 for layer in range(4)] == [True, False, True, False]
    assert [len(layer.caches) for layer in model.layers] == [1, 0, 1, 0]


def test_a_searched_block_says_its_heads_and_its_width():
    """2 · 1.5 · 64 / 3 = 64, rounded up to a multiple of 256."""
    model = small("nemotron-nas", "DeciLMForCausalLM", block_configs=[WHOLE] * 4)
    assert model.layers[0].caches[0].kv_heads == A // 2
    assert elements(model, 0)["mlp.up_proj"] == 256 * H


@pytest.mark.parametrize(
    ("block", "what"),
    [
        ({"attention": {"replace_with_linear": True}, "ffn": {}}, "replace_with_linear"),
        ({"attention": {"no_op": True}, "ffn": {"sparsify": [1]}}, "sparsify"),
        ({"attention": {"n_heads_in_group": 2}}, "ffn"),
    ],
)
def test_a_block_that_is_not_understood_is_not_known(block, what):
    with pytest.raises(NotKnown, match=what):
        small("nemotron-nas", "DeciLMForCausalLM", block_configs=[block] * 4)
    with pytest.raises(NotKnown, match="one for each layer"):
        small("nemotron-nas", "DeciLMForCausalLM", block_configs=[WHOLE])


STEP = {
    "layer_types": ["full_attention", *["sliding_attention"] * 3],
    "sliding_window": 128,
    "attention_other_setting": {
        "attention_type": "sliding_attention",
        "num_attention_heads": 6,
        "num_attention_groups": 2,
        "head_dim": 16,
    },
    "moe_num_experts": 8,
    "moe_top_k": 2,
    "moe_intermediate_size": 32,
    "share_expert_dim": 48,
    "moe_layers_enum": "2,3",
    "use_moe_router_bias": True,
    "use_head_wise_attn_gate": True,
}


def test_windows_of_step_have_more_heads_and_a_gate_for_each():
    model = small("step3p5", "Step3p5ForCausalLM", **STEP)
    norms = 2 * D + 2 * H
    full, window = ATTENTION + A * H, 2 * 6 * D * H + 2 * K * D * H + 6 * H
    routed = 8 * H + 8 + 8 * 3 * H * 32 + 3 * H * 48
    assert [total(model, layer) - norms for layer in range(4)] == [
        full + GATED,
        window + GATED,
        window + routed,
        window + routed,
    ]
    assert [layer.caches[0].window for layer in model.layers] == [0, 128, 128, 128]


def test_layers_of_step_behind_the_first_have_experts_where_none_is_named():
    unnamed = {key: value for key, value in STEP.items() if key != "moe_layers_enum"}
    model = small("step3p5", "Step3p5ForCausalLM", **unnamed)
    assert ["moe.gate" in elements(model, layer) for layer in range(4)] == [False, True, True, True]


def test_a_router_of_step_without_a_bias_is_not_known():
    with pytest.raises(NotKnown, match="use_moe_router_bias"):
        small("step3p5", "Step3p5ForCausalLM", **{**STEP, "use_moe_router_bias": False})


def test_an_encoder_is_recognised_and_keeps_nothing():
    model = small("bert", "BertModel", type_vocab_size=2)
    assert model.encoder
    assert {layer.caches for layer in model.layers} == {()}
    assert total(model, 0) == 4 * (H * H + H) + 2 * H * INNER + INNER + H + 2 * 2 * H


def test_an_encoder_has_tables_of_words_positions_and_kinds():
    model = small("bert", "BertModel", type_vocab_size=2)
    tables = {one.name: one.rows for one in model.first if one.shard == "vocab"}
    assert list(tables.values()) == [V, 4096, 2]
    assert model.max_len == 4096
    assert small("xlm-roberta", "XLMRobertaModel", type_vocab_size=1).max_len == 4096 - 2


def test_an_encoder_that_scores_has_a_head_in_32_bit():
    labels = {"id2label": {"0": "no", "1": "yes", "2": "perhaps"}}
    model = small("xlm-roberta", "XLMRobertaForSequenceClassification", **labels)
    assert [(one.name, one.rows, one.dtype_bytes) for one in model.last] == [
        ("classifier.dense", H, 4),
        ("classifier.out_proj", 3, 4),
    ]
    assert not model.left_out
    assert small("xlm-roberta", "XLMRobertaModel").left_out


def test_the_first_layer_of_modernbert_has_one_norm_less():
    model = small("modernbert", "ModernBertModel")
    assert total(model, 1) == 4 * H * H + GATED + 2 * H
    assert total(model, 0) == total(model, 1) - H


def test_an_encoder_of_another_task_is_not_known():
    with pytest.raises(NotKnown, match="architectures"):
        read({**SMALL, "model_type": "bert", "architectures": ["BertForTokenClassification"]})


def test_an_older_falcon_has_two_norms_one_after_the_other():
    one, two = (falcon(multi_query=True, parallel_attn=parallel) for parallel in (True, False))
    assert total(two, 0) - total(one, 0) == 2 * H


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"num_attention_heads": 5}, "hidden_size 64 is no multiple of 5 heads"),
        ({"architectures": ["FalconMambaForCausalLM"]}, "architectures"),
    ],
)
def test_a_falcon_that_is_not_understood_is_not_known(keys, what):
    with pytest.raises(NotKnown, match=what):
        falcon(**keys)


def test_a_step_whose_other_layers_are_no_windows_is_not_known():
    other = {**STEP["attention_other_setting"], "attention_type": "full_attention"}
    with pytest.raises(NotKnown, match="attention_type"):
        small("step3p5", "Step3p5ForCausalLM", **{**STEP, "attention_other_setting": other})


def test_modernbert_that_scores_has_a_norm_in_its_head():
    model = small("modernbert", "ModernBertForSequenceClassification", id2label={"0": "no"})
    assert [one.name for one in model.last] == ["final_norm", "head.dense", "head.norm", "classifier"]
    with pytest.raises(NotKnown, match="hidden_size"):
        small("modernbert", "ModernBertModel", num_attention_heads=5)
