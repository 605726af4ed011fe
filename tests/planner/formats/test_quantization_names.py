"""Lists name weights in many ways; each is meant as engines and the checkpoints' makers mean it."""

from __future__ import annotations

import pytest

from diag.planner.model.formats.ignored import bare, read_names

NAME = "model.layers.3.mlp.gate_proj"


@pytest.mark.parametrize(
    "entry",
    [
        "model.layers.3.mlp.gate_proj",
        "layers.3.mlp.gate_proj",
        "model.language_model.layers.3.mlp.gate_proj",
        "language_model.model.layers.3.mlp.gate_proj",
        "model.layers.3.mlp.gate_up_proj",
        "model.layers.3.mlp",
        "model.layers.3",
        "model.layers.3*",
        "model.layers.3.*",
        "*.mlp.*",
        "mlp",
        "gate_proj",
        "mlp.gate_proj",
        r"re:.*mlp\.(gate|up)_proj",
        r"re:model\.layers\.3\..*",
        "re:.*layers.3.*",
        "model.layers.*.mlp",
    ],
)
def test_an_entry_means_a_weight(entry):
    assert read_names([entry]).mean(NAME)
    assert read_names(["lm_head", entry]).mean("model.language_model.layers.3.mlp.gate_proj")


@pytest.mark.parametrize(
    "entry",
    [
        "model.layers.33.mlp.gate_proj",
        "model.layers.3.mlp.gate",
        "gate",
        "model.layers.3.mlp.down_proj",
        "model.layers.3.self_attn*",
        "re:.*lm_head",
        "re:mlp.*",
        "visual*",
        "model.layers.30*",
        "ate_proj",
    ],
)
def test_an_entry_means_another_weight(entry):
    assert not read_names([entry]).mean(NAME)


def test_a_layer_of_the_decoder_is_none_of_a_vision_tower():
    names = read_names(["model.layers.3.self_attn.q_proj"])
    assert names.mean("language_model.model.layers.3.self_attn.q_proj")
    assert not names.mean("vision_tower.encoder.layers.3.self_attn.q_proj")


def test_wrappers_of_a_vision_tower_do_not_matter_either():
    assert read_names(["model.visual*"]).mean("visual.blocks.0.attn.qkv")
    assert read_names(["vision_tower"]).mean("model.vision_tower.blocks.0.attn.qkv")


def test_all_parts_of_a_fused_weight_mean_it_and_one_does_not():
    parts = ["model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj", "model.layers.0.self_attn.v_proj"]
    assert read_names(parts).mean("model.layers.0.self_attn.qkv_proj")
    assert not read_names(parts[:2]).mean("model.layers.0.self_attn.qkv_proj")


def test_the_experts_of_a_layer_mean_each_of_them_but_not_the_shared_ones():
    names = read_names(["model.layers.3.mlp.experts"])
    assert names.mean("model.layers.3.mlp.experts.0.down_proj")
    assert not names.mean("model.layers.3.mlp.shared_experts.down_proj")


def test_draft_layers_behind_the_last_concern_no_other():
    names = read_names(["model.layers.61*", "mtp*"])
    assert not names.mean("model.layers.6.mlp.up_proj")
    assert names.mean("model.layers.61.mlp.up_proj")


def test_an_empty_list_means_nothing():
    assert not read_names([]).mean(NAME)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.language_model.layers.0.mlp", "layers.0.mlp"),
        ("backbone.layers.0.mixer", "layers.0.mixer"),
        ("lm_head", "lm_head"),
        ("language_model.lm_head", "lm_head"),
        ("model", "model"),
    ],
)
def test_a_bare_name_has_no_wrappers(name, expected):
    assert bare(name) == expected
