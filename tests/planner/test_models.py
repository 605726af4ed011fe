"""Is the model found where the user says it is, and understood as it says itself?"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import msgspec
import pytest

from diag.errors import DiagError
from diag.facts.model import ModelFile, ModelFiles
from diag.facts.record import unknown
from diag.planner.model.bounds import weight_bytes_at_most
from diag.planner.model.catalogue import bundled, names
from diag.planner.model.families import read
from diag.planner.model.models import Model, find_model, read_architecture
from diag.planner.model.shards import rank_weight_bytes
from diag.planner.unknown import NotKnown
from tests.planner.checkpoints import write
from tests.planner.clusters import CONFIGS, config, cpu_node, gpu_node, model_files, snapshot, write_model
from tests.planner.test_checkpoint import small

GIGA = 1 << 30
HERE = cpu_node("localhost", available_gib=16)
ASIDE = {"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}


def test_a_config_file_or_its_directory_is_the_same_model(tmp_path):
    folder = write_model(tmp_path, "llama-8b")
    assert find_model(folder, snapshot(HERE)).config == CONFIGS["llama-8b"]
    assert find_model(f"{folder}/config.json", snapshot(HERE)).name == folder


def test_the_safetensors_files_beside_a_config_are_read(tmp_path):
    model = small()
    write(tmp_path, read_architecture(model))
    (tmp_path / "config.json").write_text(model.config_json)
    found = find_model(str(tmp_path), snapshot(HERE))
    assert found.files is not None
    assert [group.dtype for group in found.files.tensor_groups] == ["BF16"]


def test_a_config_of_another_name_has_no_files(tmp_path):
    file = tmp_path / "llama_config.json"
    file.write_text(config("llama-8b"))
    found = find_model(str(file), snapshot(HERE))
    assert (found.name, found.files, found.hf_quant) == (str(file), None, None)


def test_published_configs_hold_numbers_that_json_does_not_have(tmp_path):
    folder = write_model(tmp_path, "llama-8b", time_step_limit=[0.0, math.inf])
    assert find_model(folder, snapshot(HERE)).config["time_step_limit"] == [0.0, math.inf]


def test_what_the_nodes_saw_comes_before_this_machine_s_files(tmp_path):
    files = model_files(config("llama-8b"), parameters=1, path=str(tmp_path))
    seen = find_model(str(tmp_path), snapshot(gpu_node("gpu01", free_gib=(79.0,), model=files)))
    assert seen.told == f"{tmp_path} on gpu01"


def test_a_node_without_the_model_and_different_copies_are_said():
    one = gpu_node("gpu01", free_gib=(79.0,), model=model_files(config("llama-8b"), parameters=1))
    two = gpu_node("gpu02", free_gib=(79.0,), model=model_files(config("llama-8b"), parameters=1, digest="e"))
    three = gpu_node("gpu03", free_gib=(79.0,))
    told = find_model("/models/m/", snapshot(one, two, three)).told
    assert told == "/models/m on gpu01; not seen on 1 of 3 nodes (gpu03); 2 different copies on the nodes"


def test_a_path_that_is_nowhere_is_one_clear_line():
    with pytest.raises(DiagError, match=rf"^/no/such: no model: expected .*; bundled: {len(names())}, e.g. Qwen/Qwen3"):
        find_model("/no/such", snapshot(HERE))


def test_the_snapshot_s_model_without_its_config_is_not_known():
    with pytest.raises(NotKnown, match="no node showed"):
        find_model(None, snapshot(HERE, model_path="/models/m"))


def test_a_gguf_file_on_the_nodes_is_bounded_and_wants_a_local_copy():
    lacks = unknown("/models/m.gguf holds no config.json")
    files = ModelFiles(path="/models/m.gguf", exists=True, files=(ModelFile(name="m.gguf", size_bytes=5 * GIGA),),
                       config_json=lacks, tensor_groups=lacks, weights_bytes=lacks)  # fmt: skip
    seen = snapshot(gpu_node("gpu01", free_gib=(79.0,), model=files), model_path="/models/m.gguf")
    for text in (None, "/models/m.gguf"):
        with pytest.raises(NotKnown, match=r"^/models/m.gguf on gpu01: .* holds no config.json; .* 5.0 GiB") as why:
            find_model(text, seen)
        assert why.value.lever == "name a local copy with --model"


def test_without_a_model_the_bundled_one_is_meant():
    assert find_model(None, snapshot(HERE)).name == "Qwen/Qwen3-0.6B"


@pytest.mark.parametrize("text", ["Qwen/Qwen3-32B", "qwen3-32b", "Qwen3-32B"])
def test_a_bundled_name_may_be_short(text):
    assert find_model(text, snapshot(HERE)).name == "Qwen/Qwen3-32B"


def test_the_end_of_one_bundled_name_is_enough():
    assert find_model("Coder-480B-A35B-Instruct", snapshot(HERE)).name == "Qwen/Qwen3-Coder-480B-A35B-Instruct"


def test_an_end_that_several_names_have_names_them():
    with pytest.raises(DiagError, match=r"^A3B: 2 bundled models end so; name one: Qwen/Qwen3-30B-A3B, Qwen/Qwen3.5"):
        find_model("A3B", snapshot(HERE))


def test_an_end_inside_a_word_is_no_name():
    with pytest.raises(DiagError, match=r"^05B: no model"):
        find_model("05B", snapshot(HERE))


def test_a_name_that_is_nearly_right_lists_the_right_one():
    with pytest.raises(DiagError, match=r"; bundled and near: .*deepseek-ai/DeepSeek-V3"):
        find_model("DeepSeek-V33", snapshot(HERE))


@pytest.mark.parametrize("text", ["{", "[]", "null"])
def test_a_config_that_is_no_json_object_is_one_clear_line(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DiagError, match=r"config.json: expected a JSON object; is it a model's config.json\?$"):
        find_model(str(tmp_path), snapshot(HERE))


def test_a_directory_without_a_config_says_so(tmp_path):
    with pytest.raises(DiagError, match=r"holds no config.json"):
        find_model(str(tmp_path), snapshot(HERE))


def test_a_directory_of_gguf_files_wants_one_of_them(tmp_path):
    (tmp_path / "m-Q4_K_M.gguf").touch()
    with pytest.raises(DiagError, match=r"a directory of .gguf files; name one of them: m-Q4_K_M.gguf"):
        find_model(str(tmp_path), snapshot(HERE))


@pytest.mark.parametrize("name", ["config.json", "m_config.json"])
def test_a_quantization_that_only_a_side_file_names_counts(tmp_path, name):
    (tmp_path / name).write_text(config("llama-8b"))
    (tmp_path / name.replace("config", "hf_quant_config")).write_text(json.dumps(ASIDE))
    architecture = read_architecture(find_model(str(tmp_path / name), snapshot(HERE)))
    assert architecture == read(CONFIGS["llama-8b"], ASIDE)
    assert architecture.quantization is not None


def test_a_quantization_beside_the_config_on_a_node_counts():
    files = model_files(config("llama-8b"), parameters=1, hf_quant_json=json.dumps(ASIDE),
                        files=(ModelFile(name="hf_quant_config.json", size_bytes=80),))  # fmt: skip
    found = find_model("/models/m", snapshot(gpu_node("gpu01", free_gib=(79.0,), model=files)))
    assert found.hf_quant == ASIDE


def test_a_quantization_that_an_old_snapshot_lists_without_its_text_is_not_known():
    files = model_files(config("llama-8b"), parameters=1,
                        files=(ModelFile(name="hf_quant_config.json", size_bytes=80),))  # fmt: skip
    with pytest.raises(NotKnown, match=r"hf_quant_config.json of /models/m on gpu01: this Snapshot does not hold it"):
        find_model("/models/m", snapshot(gpu_node("gpu01", free_gib=(79.0,), model=files)))


STRANGE = {"architectures": ["StrangeForCausalLM"], "model_type": "strange", "num_hidden_layers": 10,
           "hidden_size": 1024, "num_attention_heads": 8, "num_key_value_heads": 2}  # fmt: skip


def test_an_unknown_architecture_is_bounded_by_full_attention_and_its_files():
    files = model_files("{}", parameters=GIGA)
    with pytest.raises(NotKnown, match=r"^model_type 'strange': the planner knows .*; weights at most 2.0 GiB \(its "
                                       r"files\); KV cache at most 40,960 bytes a token"):  # fmt: skip
        read_architecture(Model(name="m", told="here", config=STRANGE, files=files))


def test_files_whose_headers_were_not_read_bound_it_too():
    files = model_files("{}", parameters=1, weights_bytes=unknown("cut"),
                        files=(ModelFile(name="pytorch_model.bin", size_bytes=3 * GIGA),))  # fmt: skip
    with pytest.raises(NotKnown, match=r"weights at most 3.0 GiB \(its files\)"):
        read_architecture(Model(name="m", told="here", config=STRANGE, files=files))


@pytest.mark.parametrize(
    ("keys", "most"),
    [
        ({"text_config": STRANGE, "model_type": "wrapper"}, "40,960"),
        (STRANGE | {"head_dim": 256}, "81,920"),
        (STRANGE | {"qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128}, "61,440"),
    ],
    ids=("in a wrapper", "a head dim of its own", "keys wider than values"),
)
def test_the_bound_takes_the_widest_head_that_the_keys_allow(keys, most):
    with pytest.raises(NotKnown, match=f"KV cache at most {most} bytes a token"):
        read_architecture(Model(name="m", told="here", config=keys))


def test_an_unknown_kind_is_told_the_nearest_and_bounded_by_its_config():
    keys = {**CONFIGS["llama-8b"], "model_type": "qwen4"}
    with pytest.raises(NotKnown) as why:
        read_architecture(Model(name="m", told="here", config=keys))
    assert re.match(
        r"model_type 'qwen4': the planner knows \d+ others, nearest qwen3, qwen\w+, qwen\w+; ", str(why.value)
    )
    assert re.search(r"weights at most \d+\.\d GiB over all GPUs \(by its config, 16 bit\); KV cache", str(why.value))
    assert len(str(why.value)) < 250


@pytest.mark.parametrize("name", [name for name in names() if weight_bytes_at_most(bundled(name).config)])
def test_every_bundled_model_takes_less_than_its_config_bounds(name):
    keys = {key: value for key, value in bundled(name).config.items() if key != "quantization_config"}
    assert rank_weight_bytes(read(keys), tp=1) <= weight_bytes_at_most(keys)


def test_without_generic_keys_no_bound_is_made_up():
    with pytest.raises(NotKnown) as why:
        read_architecture(Model(name="m", told="here", config={"model_type": "strange"}))
    assert "at most" not in str(why.value)


def test_a_model_is_frozen_and_says_its_config_as_text():
    found = find_model("Qwen3-0.6B", snapshot(HERE))
    assert json.loads(found.config_json)["hidden_size"] == 1024
    assert msgspec.structs.replace(found, name="other").config == found.config
    assert Path(found.name).name == "Qwen3-0.6B"
