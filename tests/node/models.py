"""How do tests make a model directory? Real safetensors files: small, sparse, or full of bytes to be read."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

from diag.planner.model.catalogue import DEFAULT, bundled

WIDTH = {"BF16": 2, "F16": 2, "F32": 4, "F8_E4M3": 1, "F8_E8M0": 1, "U8": 1, "I8": 1, "I32": 4, "I64": 8}


Tensors = dict[str, tuple[str, tuple[int, ...]]]
"""Name -> dtype and shape."""


def write_safetensors(path: Path, tensors: Tensors, *, cut: int = 0) -> None:
    """All zero; ``cut``: bytes missing at the end (negative: too many)."""
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


def write_qwen3(folder: Path, *, layers: int, vocab: int = 16384) -> Path:
    """The bundled Qwen3-0.6B with fewer layers and words: one file with all its tensors, nowhere sparse, not cached."""
    config = {**bundled(DEFAULT).config, "num_hidden_layers": layers, "vocab_size": vocab}
    (folder / "config.json").write_text(json.dumps(config))
    weights = folder / "model.safetensors"
    write_safetensors(weights, qwen3_tensors(config))
    fill(weights)
    return folder


def qwen3_tensors(config: dict[str, object]) -> Tensors:
    hidden, mlp, head = (int(str(config[key])) for key in ("hidden_size", "intermediate_size", "head_dim"))
    queries, pairs = (head * int(str(config[f"num_{kind}_heads"])) for kind in ("attention", "key_value"))
    shapes: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (queries, hidden), "self_attn.k_proj": (pairs, hidden), "self_attn.v_proj": (pairs, hidden),
        "self_attn.o_proj": (hidden, queries), "self_attn.q_norm": (head,), "self_attn.k_norm": (head,),
        "mlp.gate_proj": (mlp, hidden), "mlp.up_proj": (mlp, hidden), "mlp.down_proj": (hidden, mlp),
        "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
    }  # fmt: skip
    tensors: Tensors = {
        f"model.layers.{layer}.{name}.weight": ("BF16", shape)
        for layer in range(int(str(config["num_hidden_layers"])))
        for name, shape in shapes.items()
    }
    vocab = int(str(config["vocab_size"]))
    return {"model.embed_tokens.weight": ("BF16", (vocab, hidden)), **tensors, "model.norm.weight": ("BF16", (hidden,))}


def fill(weights: Path) -> None:
    """Random bytes behind the header, written to the disk and forgotten by the page cache."""
    noise = os.urandom(1 << 20)
    with weights.open("r+b") as file:
        (header_bytes,) = struct.unpack("<Q", file.read(8))
        left = weights.stat().st_size - file.seek(8 + header_bytes)
        while left:
            left -= file.write(noise[:left])
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
