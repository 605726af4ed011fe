"""How do tests make a model directory? Real safetensors files, small or sparse."""

from __future__ import annotations

import json
import struct
from pathlib import Path

WIDTH = {"BF16": 2, "F32": 4, "F8_E4M3": 1}


def write_safetensors(path: Path, tensors: dict[str, tuple[str, tuple[int, ...]]], *, cut: int = 0) -> None:
    """``tensors``: name -> (dtype, shape), all zero; ``cut``: bytes missing at the end (negative: too many)."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (dtype, shape) in tensors.items():
        size = WIDTH[dtype]
        for extent in shape:
            size *= extent
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    encoded = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.truncate(8 + len(encoded) + at - cut)


def write_model(folder: Path, shards: int = 2) -> Path:
    """A sharded model with an index; every shard holds one BF16 matrix of 64×32 and one F32 vector of 64."""
    folder.mkdir(parents=True, exist_ok=True)
    placed = {}
    for number in range(1, shards + 1):
        name = f"model-{number:05d}-of-{shards:05d}.safetensors"
        write_safetensors(folder / name, {f"{number}.w": ("BF16", (64, 32)), f"{number}.b": ("F32", (64,))})
        placed |= {f"{number}.w": name, f"{number}.b": name}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    (folder / "config.json").write_text('{"model_type": "qwen3"}')
    return folder
