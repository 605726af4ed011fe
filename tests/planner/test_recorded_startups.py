"""Do the KV tokens that engines printed elsewhere follow from the KV memory that they printed?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diag.planner.kv import bytes_per_token
from diag.planner.shapes import Shapes
from diag.units import GIB

CASES = Path(__file__).parents[3] / "shared" / "planner-cases" / "cases.jsonl"
FULL_ATTENTION = ("Llama-3", "Qwen2.5", "Qwen3-")
PRINTED_TO_GIB = 0.005
"""Engines print the KV memory with two digits."""
RANKS_DIFFER = 0.005
"""The memory line is one rank's, the tokens another's: 11.55 and 11.51 GiB stand side by side in one log."""


def recorded() -> list[dict[str, Any]]:
    if not CASES.exists():
        return []
    rows = [json.loads(line) for line in CASES.read_text().splitlines()]
    return [row for row in rows if row["engine"] == "vllm" and _complete(row)]


def _complete(row: dict[str, Any]) -> bool:
    shape, known = row.get("shape") or {}, str(row.get("model_shape", ""))
    kind = shape.get("attention_kind") == "gqa" and any(name in known for name in FULL_ATTENTION)
    quality = str(row.get("quality", "")).startswith("complete")
    return kind and quality and all(row.get(key) for key in ("tp", "kv_avail_gib", "kv_tokens"))


@pytest.mark.shared
@pytest.mark.parametrize("row", recorded() or [None], ids=lambda row: row["id"] if row else "none")
def test_printed_tokens_follow_from_printed_memory(row):
    if row is None:
        pytest.skip("no recorded start-ups beside the project")
    shape = row["shape"]
    shapes = Shapes(
        model_type="llama",
        layers=shape["num_hidden_layers"],
        hidden=shape["hidden_size"],
        heads=shape["num_attention_heads"],
        kv_heads=shape["num_key_value_heads"],
        head_dim=shape["head_dim"],
        intermediate=shape["intermediate_size"],
        vocab=shape["vocab_size"],
        max_len=shape["max_position_embeddings"],
        dtype="bfloat16",
    )
    per_token = bytes_per_token(shapes, tp=row["tp"], layers=shapes.layers)
    allowed = PRINTED_TO_GIB + 16 * per_token / GIB + (RANKS_DIFFER * row["kv_avail_gib"] if row["tp"] > 1 else 0)
    assert row["kv_tokens"] * per_token / GIB == pytest.approx(row["kv_avail_gib"], abs=allowed)
