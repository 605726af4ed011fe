"""What does a GGUF file say of itself? Its metadata and its tensors, through the ``gguf`` library (an optional extra).

A model may be split: ``…-00001-of-00003.gguf`` stands for all of its parts, of which the first has the metadata.
"""

from __future__ import annotations

import importlib
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from diag.errors import DiagError
from diag.planner.unknown import NotKnown

LONGEST_ARRAY = 1024
"""Longer ones (words of the vocabulary) are kept as their length."""
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)


class GgufTensor(msgspec.Struct, frozen=True, kw_only=True):
    """``type``: as ggml calls it, ``Q4_K``, ``F32``, …"""

    name: str
    type: str
    elements: int
    size_bytes: int


class GgufFile(msgspec.Struct, frozen=True, kw_only=True):
    """Of all parts together. ``rows``: of the embedding, which is the vocabulary with its padding."""

    path: str
    file_bytes: int
    metadata: Mapping[str, Any]
    tensors: tuple[GgufTensor, ...]
    rows: int

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", "of no name"))

    def count(self, key: str, default: int | None = None) -> int:
        """A number of the architecture; one for each layer only where all are the same."""
        found = self.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(found, list) and len(set(found)) == 1:
            found = found[0]
        if not isinstance(found, int):
            raise NotKnown(f"{self.path}: {self.architecture}.{key}: found {str(found)[:80]}, expected one number")
        return found

    def has(self, tensor: str) -> bool:
        return any(one.name == tensor for one in self.tensors)

    @property
    def parameters(self) -> int:
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def tensor_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)

    @property
    def told(self) -> str:
        """``291 tensors (Q4_K, F32, Q6_K)``, the type with most bytes first."""
        bytes_of: dict[str, int] = {}
        for tensor in self.tensors:
            bytes_of[tensor.type] = bytes_of.get(tensor.type, 0) + tensor.size_bytes
        types = ", ".join(sorted(bytes_of, key=lambda kind: -bytes_of[kind]))
        return f"{len(self.tensors)} tensors ({types})"


def read_gguf(path: Path) -> GgufFile:
    """Raises DiagError where it cannot be read."""
    reader, parts = _reader(path), _parts(path)
    try:
        return _read(path, parts, [reader(part) for part in parts])
    except (OSError, ValueError, KeyError, IndexError, struct.error) as error:
        raise DiagError(str(path), f"no GGUF file: {str(error)[:80]}") from error


def _reader(path: Path) -> Any:
    """The library's, but for long arrays: it takes 7 s for the words of a vocabulary and how they merge."""
    try:
        gguf: Any = importlib.import_module("gguf")
    except ImportError:
        raise DiagError(str(path), "GGUF files are read by the gguf library", do="pip install 'diag[gguf]'") from None
    kinds, own = gguf.GGUFValueType, gguf.GGUFReader

    def parts(self: Any, at: int, raw_kind: int) -> Any:
        items, length = struct.unpack_from("<IQ", self.data, at) if raw_kind == kinds.ARRAY else (0, 0)
        if length <= LONGEST_ARRAY or items == kinds.ARRAY:
            return own._get_field_parts(self, at, raw_kind)  # noqa: SLF001 - there is no other way to skip an array
        start = at + struct.calcsize("<IQ")
        numpy_type = self.gguf_scalar_to_np.get(kinds(items))
        end = _behind_texts(self.data, start, length) if numpy_type is None else start + numpy_type().itemsize * length
        return end - at, [self.data[at + 4 : start].view("<u8")], [], [kinds.ARRAY]

    return type("SkippingReader", (own,), {"_get_field_parts": parts})


def _behind_texts(content: Any, at: int, count: int) -> int:
    """Where an array of so many texts ends: each has its length before it."""
    length = struct.Struct("<Q").unpack_from
    for _ in range(count):
        at += 8 + length(content, at)[0]
    return at


def _parts(path: Path) -> list[Path]:
    split = _PART.search(path.name)
    if split is None:
        return [path]
    stem, count = path.name[: split.start()], int(split[2])
    parts = [path.with_name(f"{stem}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1)]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise DiagError(str(path), f"{len(missing)} of {count} parts are missing ({missing[0]})")
    return parts


def _read(path: Path, parts: list[Path], readers: list[Any]) -> GgufFile:
    tensors = [tensor for reader in readers for tensor in reader.tensors]
    embedding = next((tensor for tensor in tensors if tensor.name == "token_embd.weight"), None)
    return GgufFile(
        path=str(path),
        file_bytes=sum(part.stat().st_size for part in parts),
        metadata={name: _value(field) for name, field in readers[0].fields.items()},
        tensors=tuple(
            GgufTensor(
                name=tensor.name,
                type=tensor.tensor_type.name,
                elements=int(tensor.n_elements),
                size_bytes=int(tensor.n_bytes),
            )
            for tensor in tensors
        ),
        rows=int(embedding.shape[1]) if embedding is not None else 0,
    )


def _value(field: Any) -> Any:
    """Of a long array the length."""
    return field.contents() if field.data else int(field.parts[-1][0])
