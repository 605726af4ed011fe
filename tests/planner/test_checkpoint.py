"""Do headers and shapes agree on what a checkpoint holds, and is it said when they do not?"""

from __future__ import annotations

from typing import Any

import pytest

from diag.planner.model.catalogue import names
from diag.planner.model.checkpoint import checkpoint
from diag.planner.model.headers import model_files
from diag.planner.model.models import Model, find_model, read_architecture
from diag.planner.unknown import NotKnown
from tests.node.asking import ask
from tests.planner.checkpoints import one_of_a_kind, write
from tests.planner.clusters import CONFIGS, snapshot

SMALL = {"num_hidden_layers": 2, "hidden_size": 256, "num_attention_heads": 8, "num_key_value_heads": 2,
         "intermediate_size": 512, "vocab_size": 1024}  # fmt: skip

LAYER = 2 * 256 * 256 + 2 * 64 * 256 + 3 * 256 * 512 + 2 * 256
PARAMETERS = 2 * LAYER + 2 * 1024 * 256 + 256
"""q and o, k and v, the MLP, two norms; embedding and head, the last norm."""

PUBLISHED = {
    "meta-llama/Meta-Llama-3.1-8B": 16_060_522_496,
    "meta-llama/Meta-Llama-3.1-70B": 141_107_412_992,
    "mistralai/Mixtral-8x7B-v0.1": 93_405_585_408,
    "Qwen/Qwen3-8B": 16_381_470_720,
    "Qwen/Qwen3-32B": 65_524_246_528,
    "Qwen/Qwen3-30B-A3B": 61_064_245_248,
    "openai/gpt-oss-20b": 13_761_264_768,
}
"""``total_size`` of their model.safetensors.index.json on huggingface.co."""

QUANTIZED: dict[str, dict[str, Any]] = {
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
    "gptq symmetric": {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True},
    "gptq with zero points": {"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": False},
    "gptq a scale for each row": {"quant_method": "gptq", "bits": 4, "group_size": -1, "sym": True},
    "fp8 blocks": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    "fp8 blocks that are not whole": {"quant_method": "fp8", "weight_block_size": [96, 96]},
    "fp8 a scale for each matrix": {"quant_method": "fp8", "activation_scheme": "static"},
    "int8 rows": {"quant_method": "w8a8_int8"},
    "mxfp8": {"quant_method": "mxfp8"},
    "nvfp4": {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "model.layers.0*"]},
    "int4 of compressed-tensors": {
        "quant_method": "compressed-tensors",
        "config_groups": {"0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "group_size": 128}}},
    },
}


def small(**changes: Any) -> Model:
    return Model(name="m", told="here", config=CONFIGS["llama-8b"] | SMALL | changes)


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_are_of_as_many_bytes_as_the_published_files(name):
    model = find_model(name, snapshot())
    assert checkpoint(model, read_architecture(model)).total_bytes == PUBLISHED[name]


@pytest.mark.parametrize("name", names())
def test_files_of_a_bundled_model_hold_what_its_shapes_say(name, tmp_path):
    model = find_model(name, snapshot())
    architecture = one_of_a_kind(read_architecture(model))
    agree(Model(name=name, told=name, files=model_files(write(tmp_path, architecture))), architecture)


@pytest.mark.parametrize("quantized", QUANTIZED)
def test_files_of_a_quantized_model_hold_what_its_shapes_say(quantized, tmp_path):
    model = small(quantization_config=QUANTIZED[quantized])
    architecture = read_architecture(model)
    agree(Model(name="m", told="here", files=model_files(write(tmp_path, architecture))), architecture)


def agree(model: Model, architecture: Any) -> None:
    found = checkpoint(model, architecture)
    expected = checkpoint(Model(name="m", told="shapes alone"), architecture)
    assert (found.total_bytes, found.extra_bytes) == (expected.total_bytes, 0)
    assert "safetensors headers" in found.source
    assert "no safetensors headers" in expected.source


def test_a_node_and_this_machine_read_the_same_headers(tmp_path):
    write(tmp_path, read_architecture(small(quantization_config=QUANTIZED["awq"])))
    here, there = model_files(tmp_path), ask("modelfiles:model", path=str(tmp_path))
    groups = [[group.dtype, group.tensors, group.parameters, group.size_bytes] for group in here.tensor_groups]
    assert groups == there["groups"]


def test_the_wrong_config_is_not_believed(tmp_path):
    files = model_files(write(tmp_path, read_architecture(small())))
    other = small(hidden_size=512)
    with pytest.raises(NotKnown, match=r"hold 1,639,680 parameters, its config.json describes 3,934,720"):
        checkpoint(Model(name="m", told="here", files=files), read_architecture(other))


def test_files_that_are_quantized_though_the_config_does_not_say_so_are_not_known(tmp_path):
    files = model_files(write(tmp_path, read_architecture(small(quantization_config=QUANTIZED["fp8 blocks"]))))
    with pytest.raises(NotKnown, match=r"hold 1,114,112 bytes of quantized weights and .* describes 1,639,680 param"):
        checkpoint(Model(name="m", told="here", files=files), read_architecture(small()))


def test_a_head_that_is_stored_though_it_is_tied_is_no_contradiction(tmp_path):
    architecture = read_architecture(small(tie_word_embeddings=True))
    files = model_files(write(tmp_path, architecture, **{"lm_head.weight": ("BF16", (1024, 256))}))
    found = checkpoint(Model(name="m", told="here", files=files), architecture)
    assert found.total_bytes == 2 * PARAMETERS
    assert found.extra_bytes == 0


def test_draft_layers_in_the_files_are_said_and_not_counted(tmp_path):
    architecture = read_architecture(small(num_nextn_predict_layers=1))
    drafts = {"model.layers.2.eh_proj.weight": ("BF16", (256, 512)), "model.layers.2.mlp": ("BF16", (512, 512))}
    found = checkpoint(
        Model(name="m", told="here", files=model_files(write(tmp_path, architecture, **drafts))), architecture
    )
    assert found.extra_bytes == 0
    assert found.source.endswith("768.0 KiB are 1 draft layer (multi-token prediction, num_nextn_predict_layers), "
                                 "which are not loaded")  # fmt: skip


def test_tensors_that_are_called_drafts_are_not_counted_though_the_config_names_none(tmp_path):
    architecture = read_architecture(small())
    drafts = {"mtp.layers.0.mlp": ("BF16", (512, 512)), "model.mtp.norm": ("F32", (512,))}
    files = model_files(write(tmp_path, architecture, **drafts))
    there = ask("modelfiles:model", path=str(tmp_path))
    assert there["drafts"] == [["BF16", 1, 262_144, 524_288], ["F32", 1, 512, 2048]]
    assert [(group.dtype, group.size_bytes) for group in files.draft_groups] == [("BF16", 524_288), ("F32", 2048)]
    found = checkpoint(Model(name="m", told="here", files=files), architecture)
    assert found.extra_bytes == 0
    assert found.source.endswith("; 514.0 KiB more are draft layers, which are not loaded")


def test_more_than_draft_layers_can_be_is_a_contradiction(tmp_path):
    architecture = read_architecture(small(num_nextn_predict_layers=1))
    more = {"model.layers.2.mlp": ("BF16", (4096, 4096))}
    files = model_files(write(tmp_path, architecture, **more))
    with pytest.raises(NotKnown, match=r"its config.json describes 1,639,680 parameters"):
        checkpoint(Model(name="m", told="here", files=files), architecture)


def test_a_few_unexplained_bytes_are_counted_on_every_rank(tmp_path):
    architecture = read_architecture(small())
    files = model_files(write(tmp_path, architecture, **{"rotary.inv_freq": ("BF16", (64,))}))
    assert checkpoint(Model(name="m", told="here", files=files), architecture).extra_bytes == 128


def test_scales_that_are_quantized_themselves_are_no_contradiction(tmp_path):
    keys = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    architecture = read_architecture(small(quantization_config=keys))
    files = model_files(write(tmp_path, architecture))
    found = checkpoint(Model(name="m", told="here", files=files), architecture)
    assert found.total_bytes == files.weights_bytes < checkpoint(small(), architecture).total_bytes
    assert found.extra_bytes == 0


def test_missing_files_are_named(tmp_path):
    architecture = read_architecture(small())
    write(tmp_path, architecture)
    index = '{"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}'
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(NotKnown, match=r"1 files named by the index are missing \(model-2.safetensors\)"):
        checkpoint(Model(name="m", told="here", files=model_files(tmp_path)), architecture)


def test_a_cut_file_is_no_evidence_and_the_shapes_speak(tmp_path):
    architecture = read_architecture(small())
    file = write(tmp_path, architecture) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    found = checkpoint(Model(name="m", told="here", files=model_files(tmp_path)), architecture)
    assert found.total_bytes == 2 * PARAMETERS
    assert found.source.endswith("model.safetensors: shorter than its header says")
