"""Is a GGUF file the model that its metadata and its tensors say, to the byte?"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from diag.errors import DiagError
from diag.planner.model import families
from diag.planner.model.checkpoint import checkpoint
from diag.planner.model.gguf_config import KINDS
from diag.planner.model.gguf_files import GgufFile, read_gguf
from diag.planner.model.models import Model, find_model, read_architecture
from diag.planner.model.shards import checkpoint_bytes, parameter_count
from diag.planner.unknown import NotKnown
from tests.planner import ggufs
from tests.planner.clusters import snapshot

LLAMA = ggufs.CASES["llama"]
MATRICES = 2 * (2 * 256 * 256 + 2 * 64 * 256 + 3 * 512 * 256) + 2 * 1024 * 256
VECTORS = 2 * 2 * 256 + 256


def model(path: Path) -> Model:
    return Model(name=str(path), told="here", gguf=read_gguf(path))


def described(path: Path) -> str:
    with pytest.raises(NotKnown) as why:
        read_architecture(model(path))
    return str(why.value)


def test_every_architecture_has_a_case():
    assert {name.partition(" ")[0] for name in ggufs.CASES} == set(KINDS)


@pytest.mark.parametrize("name", ggufs.CASES)
def test_a_file_is_the_model_that_its_config_describes(name, tmp_path):
    case = ggufs.CASES[name]
    found = read_architecture(model(ggufs.write(tmp_path / "m.gguf", name, case)))
    kind = KINDS[name.partition(" ")[0]]
    architectures = {"mixtral": "MixtralForCausalLM"}.get(case.config["model_type"], kind.architecture)
    expected = families.read({"architectures": [architectures], **case.config})
    assert [layer.caches for layer in found.layers] == [layer.caches for layer in expected.layers]
    assert parameter_count(found) == parameter_count(expected)
    told = msgspec.structs.replace(expected, layers=(), first=(), last=())
    assert msgspec.structs.replace(found, layers=(), first=(), last=(), quantization=None) == told


@pytest.mark.parametrize("name", ggufs.CASES)
def test_weights_take_the_bytes_of_their_tensors(name, tmp_path):
    file = model(ggufs.write(tmp_path / "m.gguf", name, ggufs.CASES[name]))
    architecture = read_architecture(file)
    assert file.gguf is not None
    assert checkpoint_bytes(architecture) == file.gguf.tensor_bytes
    assert checkpoint(file, architecture).total_bytes == file.gguf.tensor_bytes


def test_each_type_of_a_mixed_file_counts_its_own_blocks(tmp_path):
    types = {"output.weight": "Q6_K", "blk.0.ffn_down.weight": "Q4_K", "token_embd.weight": "F16"}
    file = model(ggufs.write(tmp_path / "m.gguf", "llama", LLAMA, types=types))
    down, ends = 512 * 256, 1024 * 256
    rest = MATRICES - down - 2 * ends
    expected = rest * 34 // 32 + down * 144 // 256 + ends * 210 // 256 + 2 * ends + 4 * VECTORS
    architecture = read_architecture(file)
    assert checkpoint(file, architecture).total_bytes == checkpoint_bytes(architecture) == expected
    assert checkpoint(file, architecture).source.startswith("1.8 MiB in 21 tensors (Q8_0, F16, Q6_K, Q4_K, F32) of ")
    assert architecture.layers[0].weights != architecture.layers[1].weights


def test_a_file_of_16_bit_floats_is_not_quantized(tmp_path):
    types = {name: "F16" for name, shape in ggufs.tensors(LLAMA).items() if len(shape) > 1}
    architecture = read_architecture(model(ggufs.write(tmp_path / "m.gguf", "llama", LLAMA, types=types)))
    assert architecture.quantization is None
    assert checkpoint_bytes(architecture) == 2 * MATRICES + 4 * VECTORS


def test_layers_alike_share_their_weights(tmp_path):
    layers = read_architecture(model(ggufs.write(tmp_path / "m.gguf", "llama", LLAMA))).layers
    assert layers[0].weights is layers[1].weights


def test_a_file_is_found_by_its_path(tmp_path):
    path = ggufs.write(tmp_path / "m.gguf", "llama", LLAMA)
    found = find_model(str(path), snapshot())
    assert (found.name, found.told) == (str(path), f"{path} on this machine")


def test_a_blob_without_an_ending_is_known_by_its_first_bytes(tmp_path):
    path = ggufs.write(tmp_path / "sha256-1f2e", "llama", LLAMA)
    assert find_model(str(path), snapshot()).gguf is not None


def test_a_vision_tower_in_the_same_file_counts(tmp_path):
    case, towers = ggufs.CASES["gemma3"], {"v.blk.0.attn_q.weight": (256, 256), "mm.input_projection.weight": (64, 256)}
    file = model(ggufs.write(tmp_path / "m.gguf", "gemma3", case, **towers))
    architecture, alone = read_architecture(file), model(ggufs.write(tmp_path / "alone.gguf", "gemma3", case))
    assert architecture.vision
    assert parameter_count(architecture) == parameter_count(read_architecture(alone)) + 320 * 256
    assert checkpoint_bytes(architecture) == file.gguf.tensor_bytes


@pytest.mark.parametrize(
    ("turns", "windows"), [(None, [64, 64, 64, 64]), (2, [64, 0, 64, 0]), ([False, True, True, False], [0, 64, 64, 0])]
)
def test_which_layers_have_a_window_may_be_said(tmp_path, turns, windows):
    keys = {**ggufs.CASES["gemma3"].keys, "block_count": 4, "attention.sliding_window": 64}
    case = msgspec.structs.replace(ggufs.CASES["gemma3"], keys=keys)
    file = read_gguf(ggufs.write(tmp_path / "m.gguf", "gemma3", case))
    said = {} if turns is None else {"gemma3.attention.sliding_window_pattern": turns}
    whole = msgspec.structs.replace(file, metadata={**file.metadata, **said})
    layers = read_architecture(Model(name="m", told="here", gguf=whole)).layers
    assert [layer.caches[0].window for layer in layers] == windows


def test_tables_that_devices_compute_with_are_no_weights(tmp_path):
    path = ggufs.write(tmp_path / "m.gguf", "llama", LLAMA, **{"rope_freqs.weight": (16,)})
    assert parameter_count(read_architecture(model(path))) == MATRICES + VECTORS


def test_tensors_that_nothing_explains_are_not_passed_over(tmp_path):
    path = ggufs.write(tmp_path / "m.gguf", "llama", LLAMA, **{"blk.0.attn_q_norm.weight": (32,)})
    assert "1 tensors that llama does not have (blk.0.attn_q_norm)" in described(path)


def test_a_tensor_of_another_size_names_both_figures(tmp_path):
    wide = msgspec.structs.replace(LLAMA, layer={**LLAMA.layer, "ffn_up.weight": (1024, 256)})
    told = described(ggufs.write(tmp_path / "m.gguf", "llama", wide))
    assert "tensors blk.0.ffn_up hold 262,144 parameters, its metadata describes 131,072" in told


def test_a_tensor_that_is_not_there_is_a_contradiction(tmp_path):
    layer = {name: shape for name, shape in LLAMA.layer.items() if name != "attn_k.weight"}
    path = ggufs.write(tmp_path / "m.gguf", "llama", msgspec.structs.replace(LLAMA, layer=layer))
    assert "tensors blk.0.attn_k hold 0 parameters, its metadata describes 16,384" in described(path)


def test_an_unknown_architecture_is_bounded_by_its_file(tmp_path):
    told = described(ggufs.write(tmp_path / "m.gguf", "mamba", LLAMA))
    assert told.startswith("GGUF architecture 'mamba': the planner knows ")
    assert "weights at most 1.7 MiB (its files); KV cache at most 2,048 bytes a token" in told


def test_heads_that_differ_between_layers_are_not_known(tmp_path):
    file = read_gguf(ggufs.write(tmp_path / "m.gguf", "llama", LLAMA))
    uneven = {**file.metadata, "llama.attention.head_count_kv": [2, 4]}
    with pytest.raises(NotKnown, match=r"llama.attention.head_count_kv: found \[2, 4\], expected one number"):
        read_architecture(Model(name="m", told="here", gguf=msgspec.structs.replace(file, metadata=uneven)))


def test_latent_attention_of_old_files_is_cached_otherwise_and_not_known(tmp_path):
    case = ggufs.CASES["deepseek2"]
    keys = {key: value for key, value in case.keys.items() if not key.endswith("_mla")}
    told = described(ggufs.write(tmp_path / "m.gguf", "deepseek2", msgspec.structs.replace(case, keys=keys)))
    assert "latent attention of before llama.cpp cached it so" in told


def test_a_vocabulary_is_kept_as_its_length(tmp_path):
    file = read_gguf(ggufs.write(tmp_path / "m.gguf", "llama", LLAMA, words=5000))
    assert file.metadata["tokenizer.ggml.tokens"] == 5000
    assert file.told == "21 tensors (Q8_0, F32)"


def test_all_parts_of_a_split_file_are_one_model(tmp_path):
    whole = ggufs.write(tmp_path / "whole.gguf", "llama", LLAMA)
    first = ggufs.write(tmp_path / "m-00001-of-00002.gguf", "llama", LLAMA)
    ggufs.write(tmp_path / "m-00002-of-00002.gguf", "llama", LLAMA)
    file = read_gguf(first)
    assert file.file_bytes == 2 * whole.stat().st_size
    assert len(file.tensors) == 2 * len(read_gguf(whole).tensors)


def test_a_part_that_is_missing_is_named(tmp_path):
    first = ggufs.write(tmp_path / "m-00001-of-00002.gguf", "llama", LLAMA)
    with pytest.raises(DiagError, match=r"1 of 2 parts are missing \(m-00002-of-00002.gguf\)"):
        read_gguf(first)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_is_no_gguf_file_is_one_clear_line(tmp_path, content):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(DiagError, match=r"m.gguf: no GGUF file: "):
        read_gguf(tmp_path / "m.gguf")


def test_a_cut_file_is_one_clear_line(tmp_path):
    path = ggufs.write(tmp_path / "m.gguf", "llama", LLAMA)
    path.write_bytes(path.read_bytes()[:-4096])
    with pytest.raises(DiagError, match=r"m.gguf: no GGUF file: "):
        read_gguf(path)


def test_without_the_library_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    (tmp_path / "m.gguf").touch()
    with pytest.raises(DiagError, match=r"GGUF files are read by the gguf library; pip install 'diag\[gguf\]'$"):
        find_model(str(tmp_path / "m.gguf"), snapshot())


def test_a_path_that_ends_so_and_is_nowhere_is_no_bundled_name():
    with pytest.raises(DiagError, match=r"^/no/m.gguf: no such file$"):
        find_model("/no/m.gguf", snapshot())


def test_a_file_record_needs_no_library():
    file = GgufFile(path="m.gguf", file_bytes=1, metadata={"general.architecture": "llama"}, tensors=(), rows=0)
    with pytest.raises(NotKnown, match=r"llama.embedding_length: found None, expected one number"):
        file.count("embedding_length")
