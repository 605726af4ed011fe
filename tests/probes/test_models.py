from __future__ import annotations

from typing import Any

import pytest

from diag import probes
from diag.facts.model import TensorGroup
from diag.facts.record import Missing, NotMeasured, peek
from diag.probes.verbs import Answer
from tests.probes.recorded import answers, read, silent

NAME = "model /tmp/models/Qwen3-tiny"
PATH = "/tmp/models/Qwen3-tiny"


def model(**changed: Any) -> Any:
    return read("model", **{NAME: {**answers()[NAME].value, **changed}})


def test_a_recorded_model_has_its_tensors_and_digest():
    found = read("model")
    assert (found.path, found.exists) == (PATH, True)
    assert found.tensor_groups == (
        TensorGroup(dtype="BF16", tensors=2, parameters=4096, size_bytes=8192),
        TensorGroup(dtype="F32", tensors=2, parameters=128, size_bytes=512),
    )
    assert found.weights_bytes == 8704
    assert found.config_json == '{"model_type": "qwen3"}'
    assert len(found.digest) == 64


def test_a_model_that_is_not_there_exists_not_and_has_nothing_known():
    found = read("model", **{NAME: {"exists": False}})
    assert found.exists is False
    assert peek(found, "weights_bytes") == Missing(f"{PATH} does not exist there")


def test_a_sum_over_missing_or_bad_shards_is_not_given_as_that_of_the_model():
    assert peek(model(missing=["model-9.safetensors"]), "weights_bytes") == Missing(
        f"{PATH}: 1 shards are missing, e.g. model-9.safetensors"
    )
    bad = model(weights=[["model-1.safetensors", "git-lfs pointer"]])
    assert peek(bad, "weights_bytes") == Missing(f"{PATH}/model-1.safetensors: git-lfs pointer")


def test_which_shards_are_missing_is_not_known_where_the_index_is_cut():
    cut = model(missing=None, weights=[["model.safetensors.index.json", "no JSON index: it ends early"]])
    why = Missing(f"{PATH}/model.safetensors.index.json: no JSON index: it ends early")
    assert peek(cut, "missing_shards") == peek(cut, "weights_bytes") == why


def test_weights_of_another_format_are_not_zero_bytes():
    assert peek(model(weights=[], groups=[]), "weights_bytes") == Missing(f"{PATH} holds no safetensors files")


def test_a_model_on_a_hung_mount_is_missing():
    assert read("model", **{NAME: silent(NAME, "no answer within 15 s")}) == Missing("no answer within 15 s")


def test_read_speed_is_the_median_and_keeps_every_repetition():
    value = {"path": PATH, "direct": True, "repetitions": [[100, 1.0], [300, 1.0], [200, 1.0]]}
    found = probes.read_speed((Answer(name="read speed", value=value),), readers=4)
    assert (found.bytes_per_s, found.read_bytes, found.readers) == (200, 600, 4)
    assert found.repetitions_bytes_per_s == (100, 300, 200)


def test_a_read_speed_that_was_not_measured_says_why():
    found: Any = probes.read_speed((silent("read speed", "LookupError: every page is cached"),), readers=1)
    assert found == Missing("LookupError: every page is cached")


def test_the_request_for_a_read_speed_outlasts_its_measurement():
    request = probes.read_speed_request(PATH, limit_bytes=1 << 30, seconds=10)
    assert request.deadline_s > 10


def test_reading_a_gap_raises():
    with pytest.raises(NotMeasured):
        _ = model(weights=[], groups=[]).weights_bytes


def test_the_file_beside_the_config_that_says_how_it_is_quantized_is_kept():
    assert peek(model(), "hf_quant_json") is None
    assert model(hf_quant='{"quantization": {}}').hf_quant_json == '{"quantization": {}}'


def test_a_config_that_was_cut_is_not_taken_for_a_whole_one():
    for asked, field in (("config", "config_json"), ("hf_quant", "hf_quant_json")):
        found = peek(model(**{asked: "x" * (1 << 20)}), field)
        assert found == Missing(f"{PATH}: a config of more than 1.0 MiB is not read whole")


def test_draft_layers_are_told_apart():
    assert model().draft_groups == ()
    drafts = (TensorGroup(dtype="BF16", tensors=1, parameters=8, size_bytes=16),)
    assert model(drafts=[["BF16", 1, 8, 16]]).draft_groups == drafts
