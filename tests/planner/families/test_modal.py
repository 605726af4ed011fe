"""Wrappers around a language model: whose keys count, what the tower before it weighs, who holds it."""

from __future__ import annotations

import pytest

from diag.planner.model.families import read
from diag.planner.model.shards import rank_weight_bytes
from diag.planner.unknown import NotKnown
from tests.planner.families.weighing import SMALL, H, by_name, small

VISION = {
    "depth": 3,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 4,
    "patch_size": 16,
    "temporal_patch_size": 2,
    "in_channels": 3,
    "num_position_embeddings": 100,
    "spatial_merge_size": 2,
    "out_hidden_size": H,
}
TEXT = {**SMALL, "model_type": "qwen3_vl_text", "head_dim": 16}
OUTER = {"model_type": "qwen3_vl", "architectures": ["Qwen3VLForConditionalGeneration"]}


def wrapped(**outer: object):
    return read({**OUTER, "text_config": TEXT, "vision_config": VISION, **outer})


def test_the_language_model_is_that_of_its_own_config():
    inside, alone = wrapped(), small("qwen3", "Qwen3ForCausalLM", head_dim=16)
    assert [layer.weights for layer in inside.layers] == [layer.weights for layer in alone.layers]
    assert inside.layers[0].prefix == "model.language_model.layers.0"
    assert (inside.vision, alone.vision) == (True, False)


def test_a_tower_is_patches_positions_blocks_and_a_merger():
    found = by_name(wrapped().first)
    assert found["model.visual.patch_embed.proj"] == 32 * 3 * 2 * 16 * 16 + 32
    assert found["model.visual.pos_embed"] == 100 * 32
    assert found["model.visual.blocks.0.attn.qkv"] == 3 * (3 * 32 * 32 + 3 * 32)
    assert found["model.visual.blocks.0.mlp.linear_fc1"] == 3 * (48 * 32 + 48)
    assert found["model.visual.merger.linear_fc1"] == 128 * 128 + 128
    assert found["model.visual.merger.linear_fc2"] == H * 128 + H


def test_deeper_features_have_mergers_of_their_own():
    deep = by_name(wrapped(vision_config={**VISION, "deepstack_visual_indexes": [1, 2]}).first)
    assert deep["model.visual.deepstack_merger_list.0.linear_fc2"] == 2 * (H * 128 + H)


def test_every_stage_of_a_pipeline_holds_the_tower():
    model = wrapped()
    tower = sum(by_name(tuple(one for one in model.first if "visual" in one.name)).values()) * 2
    without = small("qwen3", "Qwen3ForCausalLM", head_dim=16)
    for stage in (0, 1):
        held = rank_weight_bytes(model, tp=1, pp=2, stage=stage)
        assert held - rank_weight_bytes(without, tp=1, pp=2, stage=stage) == tower


def test_the_dtype_is_the_wrapper_s_where_the_text_does_not_say():
    silent = {key: value for key, value in TEXT.items() if key != "torch_dtype"}
    assert wrapped(text_config=silent, torch_dtype="float16").dtype == "float16"
    assert wrapped(text_config=TEXT, torch_dtype="float16").dtype == "bfloat16"


def test_a_wrapper_ties_the_head_of_a_text_that_does_not_say():
    silent = {key: value for key, value in TEXT.items() if key != "tie_word_embeddings"}
    assert wrapped(text_config=silent, tie_word_embeddings=True).tied
    assert not wrapped(text_config=TEXT, tie_word_embeddings=True).tied


def test_older_wrappers_have_the_text_s_keys_beside_the_tower():
    vision = {"depth": 2, "embed_dim": 32, "num_heads": 4, "mlp_ratio": 4, "hidden_size": H, "patch_size": 14}
    outer = {"model_type": "qwen2_vl", "architectures": ["Qwen2VLForConditionalGeneration"]}
    model = read({**SMALL, **outer, "vision_config": vision})
    assert by_name(model.first)["visual.blocks.0.mlp.fc1"] == 2 * (4 * 32 * 32 + 4 * 32)
    assert by_name(model.first)["visual.merger.mlp.2"] == H * 128 + H


@pytest.mark.parametrize(
    ("outer", "what"),
    [
        ({"architectures": ["Other"]}, "architectures 'Other' of model_type qwen3_vl"),
        ({"text_config": {**TEXT, "model_type": "llama"}}, "text_config.model_type"),
        ({"vision_config": None}, "vision_config"),
        ({"vision_config": {**VISION, "depth": "deep"}}, "vision_config.depth in config.json: found 'deep'"),
        ({"audio_config": {"hidden_size": 1}}, "audio tower"),
    ],
)
def test_what_is_not_understood_is_not_known(outer, what):
    with pytest.raises(NotKnown, match=what):
        wrapped(**outer)
