"""Do CUDA graphs take what their number and the layers of a rank say?"""

from __future__ import annotations

import itertools

import msgspec
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


def graphs(  # noqa: PLR0917 - what graphs follow from
    config: dict[str, object] = QWEN3,
    rules: EngineRules | None = None,
    pp: int = 1,
    captures: int | None = 86,
    hopper: bool = False,
    tp: int = 1,
    batch: Batch | None = None,
) -> Term:
    batch = batch or Batch(max_num_seqs=256, max_num_batched_tokens=2048, captures=captures)
    return terms(families.read(config), rules or vllm.rules("0.20"), batch, Ranks(tp=tp, pp=pp), hopper=hopper).graphs


def test_captures_share_a_pool_and_each_takes_memory_for_each_layer():
    """Twice the layers take less than twice the memory."""
    one, two = graphs(), graphs({**QWEN3, "num_hidden_layers": 56})
    pool = int(vllm.rules("0.20").graph_pool.mid)
    assert one.mid == pytest.approx(pool + 86 * 28 * 165 * KIB, abs=2)
    assert two.mid == pytest.approx(pool + 2 * (one.mid - pool), abs=4)


def test_width_does_not_count():
    assert graphs({**QWEN3, "hidden_size": 2048, "intermediate_size": 8192}) == graphs()


def test_captures_with_experts_take_more():
    assert graphs(EXPERTS).mid - graphs().mid == pytest.approx(86 * 3.3 * 1024 * KIB, abs=2)


def test_before_0_11_layers_with_experts_take_more():
    assert graphs(EXPERTS, rules=vllm.rules("0.10.2")).mid == 86 * 28 * 410 * KIB


def test_a_stage_captures_its_own_layers():
    """The pool is each stage's own."""
    pool = vllm.rules("0.20").graph_pool.mid
    assert graphs(pp=2, captures=102).mid - pool == pytest.approx((graphs(captures=102).mid - pool) / 2, abs=4)


LLAMA = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 4096,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_70B = {
    **LLAMA, "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64, "intermediate_size": 28672,
}  # fmt: skip
QWEN_7B = {
    **LLAMA, "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944,
}  # fmt: skip
LATENT = {
    "architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "torch_dtype": "bfloat16",
    "hidden_size": 2048, "num_hidden_layers": 27, "num_attention_heads": 16, "num_key_value_heads": 16,
    "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "q_lora_rank": None,
    "intermediate_size": 10944, "moe_intermediate_size": 1408, "n_routed_experts": 64, "n_shared_experts": 2,
    "num_experts_per_tok": 6, "first_k_dense_replace": 1, "moe_layer_freq": 1, "vocab_size": 102400,
    "max_position_embeddings": 163840, "tie_word_embeddings": False,
}  # fmt: skip
LOGGED = [
    (LLAMA, 1, 1, 0.91), (LLAMA, 1, 2, 0.65), (LLAMA, 1, 4, 0.51), (LLAMA, 2, 1, 0.76), (LLAMA, 4, 1, 0.67),
    (LLAMA_70B, 2, 1, 1.79), (LLAMA_70B, 4, 1, 1.66), (QWEN_7B, 1, 1, 0.87), (QWEN_7B, 4, 1, 0.64),
    (LATENT, 1, 1, 1.57),
]  # fmt: skip
"""GiB that vLLM 0.19.0 printed on an H100 (llm-d-planner d3121e05, accuracy/results/v0.19.0)."""


@pytest.mark.parametrize(("config", "tp", "pp", "logged"), LOGGED)
def test_what_logs_print_of_8_to_80_layers_on_hopper(config: dict[str, object], tp: int, pp: int, logged: float):
    batch = Batch(max_num_seqs=1024, max_num_batched_tokens=8192)
    found = graphs(config, vllm.rules("0.19.0"), pp=pp, tp=tp, hopper=True, batch=batch)
    assert found.low <= logged * 2**30 <= found.high
    assert found.mid / 2**30 == pytest.approx(logged, rel=0.15)


def test_attention_in_parts_is_that_of_hopper_in_16_bit_and_of_graphs_of_whole_batches():
    batch = Batch(max_num_seqs=512, max_num_batched_tokens=8192)
    plain = graphs(LLAMA, batch=batch)
    parts = 32 * 512 * 32 * 129 * 4
    assert graphs(LLAMA, batch=batch, hopper=True).mid - plain.mid == parts
    wide = msgspec.structs.replace(families.read(LLAMA), dtype="float32")
    assert terms(wide, vllm.rules("0.20"), batch, Ranks(tp=1), hopper=True).graphs == plain
    old = vllm.rules("0.10.2")
    assert graphs(LLAMA, old, batch=batch, hopper=True) == graphs(LLAMA, old, batch=batch)


GPT_OSS = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "torch_dtype": "bfloat16", "hidden_size": 2880,
    "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
    "intermediate_size": 2880, "num_local_experts": 32, "num_experts_per_tok": 4, "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12, "attention_bias": True, "vocab_size": 201088,
    "max_position_embeddings": 131072, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("version", "pieces"), [("0.10.2", 83), ("0.11.0", 81), ("0.12.0", 83), ("0.19.0", 83), ("0.33.0", 83)]
)
def test_gpt_oss_is_captured_further_than_others_however_few_its_sequences(version: str, pieces: int):
    """GptOssForCausalLMConfig in vLLM's models/config.py: to 1024, in 0.11 to 992, never beyond a batch."""
    captures = vllm.rules(version).captured_of("GptOssForCausalLM")
    assert captures.count(1, whole=False) == captures.count(1024, whole=False) == pieces
    assert captures.count(1, tokens=512, whole=False) == 51
    assert vllm.rules(version).captured_of("LlamaForCausalLM").count(1, whole=False) <= 2


@pytest.mark.parametrize(("tp", "logged"), [(1, 1.84), (2, 1.55)])
def test_graphs_of_gpt_oss_take_what_its_logs_print(tp: int, logged: float):
    batch = Batch(max_num_seqs=1024, max_num_batched_tokens=8192)
    found = graphs(GPT_OSS, vllm.rules("0.19.0"), tp=tp, hopper=True, batch=batch)
    assert found.mid / 2**30 == pytest.approx(logged, rel=0.05)


def test_what_gpt_oss_leaves_unusable_on_hopper_counts():
    def kept(version: str, *, hopper: bool) -> float:
        batch = Batch(max_num_seqs=256, max_num_batched_tokens=8192)
        found = terms(families.read(GPT_OSS), vllm.rules(version), batch, Ranks(tp=1), hopper=hopper)
        return found.fragmentation.high / 2**30

    assert kept("0.19.0", hopper=True) == pytest.approx(1.8)
    assert kept("0.19.0", hopper=False) == kept("0.11.2", hopper=True) == 0


def test_no_more_is_captured_than_a_batch_has_tokens():
    few = Batch(max_num_seqs=64, max_num_batched_tokens=64)
    assert graphs(batch=few).low < graphs(batch=Batch(max_num_seqs=64, max_num_batched_tokens=2048)).low


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
    assert (found.low, found.mid, found.high) == (int(few.low), int(few.mid), int(few.high))


def test_fewer_captures_never_take_more():
    found = [graphs(captures=captures) for captures in range(1, 103)]
    for less, more in itertools.pairwise(found):
        assert less.low <= more.low
        assert less.mid <= more.mid
        assert less.high <= more.high
