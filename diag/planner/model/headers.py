"""What do the safetensors files of a directory on this machine hold? Their headers, as a node would report them.

A header is eight bytes of length and a JSON object: tensor -> dtype, shape, where its bytes lie. Nothing else is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

import msgspec

from diag.facts.model import ModelFile, ModelFiles, TensorGroup
from diag.facts.record import unknown

INDEX = "model.safetensors.index.json"
ENDING = ".safetensors"
HEADER_AT_MOST = 100_000_000
"""The format's own limit (safetensors, format description)."""


DRAFT = "mtp"
"""What layers for multi-token prediction are called, where they are not numbered as the model's own."""


class _Sums(dict[str, tuple[int, int, int]]):
    """Tensors, parameters and bytes of each dtype."""


class _Tensor(msgspec.Struct):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


class _BadHeaderError(Exception):
    """Of one file; ``str()`` says what is wrong with it."""


def model_files(folder: Path) -> ModelFiles | None:
    """None: no safetensors files lie there, and no index names any."""
    files = {file.name: file for file in sorted(folder.iterdir()) if file.is_file()}
    named = _named_by_index(files.get(INDEX))
    wanted = named or _unindexed(files)
    if not wanted:
        return None
    missing = tuple(sorted(set(wanted) - set(files)))
    sums, drafts = _Sums(), _Sums()
    wrong = _add_all(folder, (files[name] for name in wanted if name in files), sums, drafts)
    if missing:
        wrong = f"{folder}: {len(missing)} files of its index are missing"
    groups = _groups(sums)
    return ModelFiles(
        path=str(folder),
        exists=True,
        files=tuple(ModelFile(name=name, size_bytes=file.stat().st_size) for name, file in files.items()),
        tensor_groups=unknown(wrong) if wrong else groups,
        draft_groups=_groups(drafts),
        weights_bytes=unknown(wrong) if wrong else sum(group.size_bytes for group in groups),
        missing_shards=missing,
    )


def _named_by_index(index: Path | None) -> list[str]:
    """An index that cannot be read names nothing: the files that are there are read then."""
    if index is None:
        return []
    try:
        return sorted(set(msgspec.json.decode(index.read_bytes(), type=_Index).weight_map.values()))
    except (OSError, msgspec.DecodeError):
        return []


def _unindexed(names: Iterable[str]) -> list[str]:
    """Without an index: ``model*.safetensors``; only where there is none, whatever else ends so."""
    found = [name for name in names if name.endswith(ENDING)]
    return [name for name in found if name.startswith("model")] or found


def _add_all(folder: Path, files: Iterable[Path], sums: _Sums, drafts: _Sums) -> str | None:
    """What is wrong with the first file that is not whole."""
    for file in files:
        try:
            _add(_header(file), sums, drafts)
        except _BadHeaderError as why:
            return f"{folder}/{file.name}: {why}"
        except (OSError, msgspec.DecodeError) as error:
            return f"{folder}/{file.name}: header not readable: {error}"
    return None


def _groups(sums: _Sums) -> tuple[TensorGroup, ...]:
    return tuple(
        TensorGroup(dtype=dtype, tensors=tensors, parameters=parameters, size_bytes=size)
        for dtype, (tensors, parameters, size) in sorted(sums.items())
    )


def _header(file: Path) -> dict[str, _Tensor]:
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 1 < length <= HEADER_AT_MOST:
            raise _BadHeaderError("not a safetensors file")
        raw = msgspec.json.decode(opened.read(length), type=dict[str, msgspec.Raw])
    tensors = {name: msgspec.json.decode(one, type=_Tensor) for name, one in raw.items() if name != "__metadata__"}
    end = 8 + length + max((tensor.data_offsets[1] for tensor in tensors.values()), default=0)
    if file.stat().st_size < end:
        raise _BadHeaderError("shorter than its header says")
    return tensors


def _add(tensors: dict[str, _Tensor], sums: _Sums, drafts: _Sums) -> None:
    for name, tensor in tensors.items():
        low, high = tensor.data_offsets
        for into in (sums, drafts) if DRAFT in name.split(".") else (sums,):
            count, parameters, size = into.get(tensor.dtype, (0, 0, 0))
            into[tensor.dtype] = count + 1, parameters + math.prod(tensor.shape), size + high - low
