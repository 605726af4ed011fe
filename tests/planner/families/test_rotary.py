"""Which tables of positions does a model turn by? Sizes by hand; logs of vLLM print them among the weights."""

from __future__ import annotations

from typing import Any

import pytest

from diag.engines import lmdeploy, sglang, vllm
from diag.planner.memory.weighed import rotary_bytes
from diag.planner.model import families
from diag.planner.model.architecture import RotaryTable
from diag.planner.model.catalogue import bundled
from diag.units import MIB

VLLM, SGLANG, LMDEPLOY = vllm.rules("0.32"), sglang.rules("0.5.23"), lmdeploy.rules("0.18")


def tables(name: str, **changes: Any) -> tuple[RotaryTable, ...]:
    return families.read({**bundled(name).config, **changes}).rotary


@pytest.mark.parametrize(
    ("name", "positions", "dim"),
    [
        ("meta-llama/Meta-Llama-3.1-8B", 131072, 128),
        ("Qwen/Qwen3-VL-30B-A3B-Instruct", 4 * 262144, 128),  # positions in three directions
        ("Qwen/Qwen3.5-27B", 4 * 262144, 64),  # and a quarter of 256
        ("deepseek-ai/DeepSeek-V3", 163840, 64),  # of the latent entry; 4096 times 40
        ("openai/gpt-oss-20b", 131072, 64),
        ("MiniMaxAI/MiniMax-M2.5", 196608, 64),  # rotary_dim of 128
    ],
)
def test_a_table_has_a_row_for_each_position_that_a_model_promises(name, positions, dim):
    assert tables(name) == (RotaryTable(positions=positions, dim=dim),)


def test_layers_that_turn_otherwise_have_a_table_of_their_own():
    assert [table.dim for table in tables("google/gemma-4-26B-A4B")] == [256, 512]


def test_yarn_makes_rows_for_what_it_stretches_to():
    rope = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert tables("Qwen/Qwen3-8B", rope_scaling=rope)[0].positions == 131072


def test_long_rope_keeps_rows_of_both_lengths():
    rope = {"type": "longrope", "original_max_position_embeddings": 4096}
    assert tables("Qwen/Qwen3-8B", rope_scaling=rope, max_position_embeddings=131072)[0].positions == 131072 + 4096


def test_layers_without_positions_have_no_table():
    assert not tables("nvidia/Nemotron-H-56B-Base-8K")


@pytest.mark.parametrize(("rules", "mib"), [(VLLM, 256), (SGLANG, 512), (LMDEPLOY, 0)])
def test_tables_take_what_the_engine_makes_them_of(rules, mib):
    """2 bytes an element in vLLM, 4 in SGLang; LMDeploy computes them as it needs them."""
    model = families.read(bundled("Qwen/Qwen3-VL-30B-A3B-Instruct").config)
    assert rotary_bytes(model, rules) == mib * MIB


def test_tables_of_compressed_layers_are_of_32_bits_everywhere():
    model = families.read(bundled("deepseek-ai/DeepSeek-V4-Flash").config)
    assert rotary_bytes(model, VLLM) == rotary_bytes(model, SGLANG) == 2 * 256 * MIB
