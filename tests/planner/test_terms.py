"""Do CUDA graphs take what their number and the layers of a rank say?"""

from __future__ import annotations

import itertools

import pytest

from diag.engines import lmdeploy, vllm
from diag.planner.memory.batch import Batch
from diag.planner.memory.steps import Ranks
from diag.planner.memory.terms import Term, terms
from diag.planner.model import families
from diag.planner.rules import EngineRules

QWEN3 = {
    "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "torch_dtype": "bfloat16", "hidden_size": 1024,
    "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 3072, "vocab_size": 151936, "max_position_embeddings": 40960, "tie_word_embeddings": True,
}  # fmt: skip
EXPERTS = {
    **QWEN3, "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 128,
    "num_experts_per_tok": 8, "moe_intermediate_size": 768, "decoder_sparse_step": 1, "mlp_only_layers": [],
    "norm_topk_prob": True,
}  # fmt: skip
KIB = 1024


def graphs(
    config: dict[str, object] = QWEN3, rules: EngineRules | None = None, pp: int = 1, captures: int | None = 86
) -> Term:
    batch = Batch(max_num_seqs=256, max_num_batched_tokens=2048, captures=captures)
    return terms(families.read(config), rules or vllm.rules("0.20"), batch, Ranks(tp=1, pp=pp)).graphs


def test_each_capture_takes_memory_for_each_layer():
    found = graphs(captures=86)
    assert (found.low, found.mid, found.high) == (86 * 28 * 190 * KIB, 86 * 28 * 260 * KIB, 86 * 28 * 400 * KIB)


def test_layers_count_and_not_their_width():
    assert graphs({**QWEN3, "hidden_size": 2048, "intermediate_size": 8192}) == graphs()
    assert graphs({**QWEN3, "num_hidden_layers": 56}).mid == 2 * graphs().mid


def test_layers_with_experts_take_more():
    assert graphs(EXPERTS).mid == 86 * 28 * 410 * KIB


def test_a_stage_captures_its_own_layers():
    assert graphs(pp=2).low == graphs().low // 2


def test_captures_that_no_one_named_are_those_of_the_version():
    """51 up to 512 tokens and 35 decode batches up to 256."""
    assert graphs(captures=None) == graphs(captures=86)


@pytest.mark.parametrize("version", ["0.7.3", "0.6.6"])
def test_the_first_engine_of_vllm_takes_the_same_for_all(version: str):
    assert graphs(rules=vllm.rules(version)) == graphs(EXPERTS, rules=vllm.rules(version))


def test_each_stage_of_the_first_engine_holds_the_graphs_of_all():
    rules = vllm.rules("0.7.3")
    assert graphs(rules=rules, pp=4).mid == pytest.approx(4 * graphs(rules=rules).mid, abs=4)


def test_an_engine_without_figures_of_layers_keeps_its_spread():
    rules = lmdeploy.rules("0.16")
    assert graphs(rules=rules).mid == graphs(EXPERTS, rules=rules).mid > 0


def test_few_captures_take_what_logs_of_few_show():
    few, found = vllm.rules("0.20").few_graphs, graphs(captures=3)
    assert (found.low, found.mid, found.high) == (3 * 28 * 190 * KIB, int(few.mid), int(few.high))


def test_fewer_captures_never_take_more():
    found = [graphs(captures=captures) for captures in range(1, 103)]
    for less, more in itertools.pairwise(found):
        assert less.low < more.low
        assert less.mid <= more.mid
        assert less.high <= more.high
