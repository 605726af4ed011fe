"""Do the KV tokens that engines printed elsewhere follow from the KV memory that they printed?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diag.planner.memory.paging import vllm
from diag.planner.memory.paging.settings import Settings
from diag.planner.memory.paging.split import Split
from diag.planner.memory.paging.versions import vllm_paging
from diag.planner.model import families
from diag.units import GIB
from tests.planner.clusters import CONFIGS

CASES = Path(__file__).parents[3] / "shared" / "planner-cases" / "cases.jsonl"
FULL_ATTENTION = ("Llama-3", "Qwen2.5", "Qwen3-")
PRINTED_TO_GIB = 0.005
"""Engines print the KV memory with two digits."""
RANKS_DIFFER = 0.005
"""The memory line is one rank's, the tokens another's: 11.55 and 11.51 GiB stand side by side in one log."""
SHAPE = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim",
         "intermediate_size", "vocab_size", "max_position_embeddings")  # fmt: skip


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
    model = families.read(CONFIGS["llama-8b"] | {key: row["shape"][key] for key in SHAPE})
    settings = Settings(
        rules=vllm_paging((0, 8)), max_model_len=model.max_len, max_num_batched_tokens=2048, block_size=16
    )
    layout = vllm.layout(model, Split(tp=row["tp"]), settings)
    block = layout.bytes_per_block / GIB
    allowed = PRINTED_TO_GIB + block + (RANKS_DIFFER * row["kv_avail_gib"] if row["tp"] > 1 else 0)
    assert row["kv_tokens"] / 16 * block == pytest.approx(row["kv_avail_gib"], abs=allowed)
