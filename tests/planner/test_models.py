"""Is the model found where the user says it is?"""

from __future__ import annotations

import pytest

from diag.engines import plan_launch
from diag.errors import DiagError
from diag.planner.models import find_model
from diag.planner.unknown import NotKnown
from tests.planner.clusters import config, cpu_node, gpu_node, model_files, snapshot, write_model

HERE = cpu_node("localhost", available_gib=16)


def test_a_config_file_or_its_directory_is_the_same_model(tmp_path):
    folder = write_model(tmp_path, "llama-8b")
    assert find_model(folder, snapshot(HERE)).config_json == config("llama-8b")
    assert find_model(f"{folder}/config.json", snapshot(HERE)).name == folder


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
    with pytest.raises(DiagError, match=r"^/no/such: no model: expected"):
        find_model("/no/such", snapshot(HERE))


def test_the_snapshot_s_model_without_its_config_is_not_known():
    with pytest.raises(NotKnown, match="no node showed"):
        find_model(None, snapshot(HERE, model_path="/models/m"))


def test_a_quantization_that_only_a_side_file_names_is_refused(tmp_path):
    folder = write_model(tmp_path, "llama-8b")
    (tmp_path / "hf_quant_config.json").write_text("{}")
    plan = plan_launch(snapshot(HERE), folder)
    assert plan.verdict == "UNKNOWN"
    assert "hf_quant_config.json" in plan.reason
