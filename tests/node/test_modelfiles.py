from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.node.asking import Refused, ask
from tests.node.models import write_model, write_safetensors


def model(path: Path) -> dict[str, Any]:
    return ask("modelfiles:model", path=str(path))


def problems(found: dict[str, Any]) -> dict[str, str]:
    return {name: problem for name, _, _, problem in found["files"] if problem}


def test_tensors_of_all_shards_are_summed_by_dtype(tmp_path: Path):
    found = model(write_model(tmp_path / "m", shards=3))
    assert found["groups"] == [["BF16", 3, 3 * 64 * 32, 3 * 64 * 32 * 2], ["F32", 3, 3 * 64, 3 * 64 * 4]]
    assert found["config"] == '{"model_type": "qwen3"}'
    assert found["missing"] == []
    assert problems(found) == {}


def test_a_shard_that_the_index_names_and_nobody_has_is_missing(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert model(folder)["missing"] == ["model-00002-of-00002.safetensors"]


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"weight_map": {"1.w": "model-00001-', "no JSON index: JSONDecodeError: Unterminated string"),
        ("{}", "no JSON index: KeyError: 'weight_map'"),
        ('{"weight_map": []}', "no JSON index: AttributeError"),
        ('{"weight_map": {}}', "no JSON index: its weight_map names no file"),
        ("version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        ("", "empty"),
    ],
    ids=("cut", "no map", "a list", "nothing named", "pointer", "empty"),
)
def test_an_index_that_cannot_be_read_is_not_the_same_as_none(tmp_path: Path, content: str, problem: str):
    folder = write_model(tmp_path / "m")
    (folder / "model-00002-of-00002.safetensors").unlink()
    (folder / INDEX).write_text(content)
    found = model(folder)
    assert problems(found).keys() == {INDEX}
    assert problems(found)[INDEX].startswith(problem)
    assert found["missing"] is None
    assert found["weights"][0] == [INDEX, problems(found)[INDEX]]


def test_an_index_that_is_closed_to_the_user_is_not_the_same_as_none(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    if os.getuid() == 0:
        os.chown(folder / INDEX, 65534, 65534)
    (folder / INDEX).chmod(0o600 if os.getuid() == 0 else 0)
    found = ask("modelfiles:model", path=str(folder), unprivileged=True)
    assert problems(found) == {INDEX: "not readable: Permission denied"}
    assert found["missing"] is None


@pytest.mark.parametrize(("cut", "problem"), [(1, "shorter than its header says"), (-1, "longer than its header says")])
def test_a_shard_of_another_length_than_its_header_says_is_seen(tmp_path: Path, cut: int, problem: str):
    folder = write_model(tmp_path / "m")
    write_safetensors(folder / "model-00001-of-00002.safetensors", {"1.w": ("BF16", (64, 32))}, cut=cut)
    assert problems(model(folder)) == {"model-00001-of-00002.safetensors": problem}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4000000000\n", "git-lfs pointer"),
        (b"", "empty"),
        (b"\xff" * 64, "not a safetensors file"),
        (b"\x10\x27\0\0\0\0\0\0{}", "shorter than its header says"),
        (b"\x04\0\0\0\0\0\0\0nope", "header not readable: JSONDecodeError"),
        (b"\x07\0\0\0\0\0\0\0" + b'{"a":1}', "header not readable: TypeError"),
    ],
    ids=("pointer", "empty", "noise", "cut", "no JSON", "no header"),
)
def test_what_is_no_safetensors_file_is_named(tmp_path: Path, content: bytes, problem: str):
    folder = write_model(tmp_path / "m")
    (folder / "model-00001-of-00002.safetensors").write_bytes(content)
    assert problems(model(folder)) == {"model-00001-of-00002.safetensors": problem}


def test_a_second_copy_of_the_weights_in_another_layout_is_not_counted(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    before = model(folder)["groups"]
    write_safetensors(folder / "consolidated.safetensors", {"all": ("BF16", (640, 320))})
    assert model(folder)["groups"] == before


def test_without_an_index_the_single_file_is_the_model(tmp_path: Path):
    write_safetensors(tmp_path / "model.safetensors", {"w": ("F8_E4M3", (8, 8))})
    found = model(tmp_path)
    assert found["groups"] == [["F8_E4M3", 1, 64, 64]]
    assert found["config"] is None


def test_a_hugging_face_cache_is_followed_to_its_commit(tmp_path: Path):
    blobs = write_model(tmp_path / "blobs")
    cache = tmp_path / "models--Qwen--Qwen3"
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(blob)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc\n")
    assert model(cache) == model(snapshot) == model(blobs)


def test_the_digest_follows_names_sizes_and_small_contents_but_not_times(tmp_path: Path):
    one, two = model(write_model(tmp_path / "a")), model(write_model(tmp_path / "b"))
    assert one["digest"] == two["digest"]
    (tmp_path / "b" / "config.json").write_text('{"model_type": "qwen2"}')
    assert model(tmp_path / "b")["digest"] != one["digest"]


def test_links_that_lead_nowhere_and_folders_are_no_files(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    (folder / "tokenizer.json").symlink_to("../blobs/gone")
    (folder / "original").mkdir()
    (folder / ".cache").write_text("")
    found = model(folder)
    assert problems(found) == {"tokenizer.json": "a link that leads nowhere"}
    assert not {"original", ".cache"} & {row[0] for row in found["files"]}


def test_one_file_is_its_own_model(tmp_path: Path):
    gguf = tmp_path / "q4.gguf"
    gguf.write_bytes(b"GGUF" + bytes(100))
    found = model(gguf)
    assert [(row[0], row[1]) for row in found["files"]] == [("q4.gguf", 104)]
    assert (found["groups"], found["weights"]) == ([], [])


def test_nothing_there_is_an_answer(tmp_path: Path):
    assert model(tmp_path / "nowhere") == {"exists": False}


def test_a_folder_that_is_closed_to_the_user_is_not_an_empty_one(tmp_path: Path):
    closed = write_model(tmp_path / "m")
    if os.getuid() == 0:
        os.chown(closed, 65534, 65534)
    closed.chmod(0o700 if os.getuid() == 0 else 0)
    with pytest.raises(Refused, match="PermissionError"):
        ask("modelfiles:model", path=str(closed), unprivileged=True)
    closed.chmod(0o700)


def test_two_hundred_shards_are_read_at_once(tmp_path: Path):
    folder = write_model(tmp_path / "m", shards=200)
    began = time.monotonic()
    found = model(folder)
    assert found["groups"][0][1] == 200
    assert time.monotonic() - began < 5


def test_the_quantization_that_is_said_beside_the_config_comes_along(tmp_path: Path):
    folder = write_model(tmp_path / "m")
    assert model(folder)["hf_quant"] is None
    (folder / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
    assert model(folder)["hf_quant"] == '{"quantization": {"quant_algo": "FP8"}}'
