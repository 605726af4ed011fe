"""Is a draft refused where the engine would refuse it, or where the model's files do not hold it?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diag.declared import declared_snapshot
from diag.engines import plan_launch
from diag.facts.plan import Parameters, Plan
from diag.planner.model.catalogue import bundled
from diag.planner.model.families import read
from diag.planner.wanted import Wanted
from tests.planner.checkpoints import write

EIGHT_H100 = declared_snapshot("8xH100-80GB", None)
NGRAM = {"speculative_method": "ngram", "num_speculative_tokens": 3}
MTP = {"speculative_method": "mtp", "num_speculative_tokens": 1}
STANDALONE = {**NGRAM, "speculative_method": "draft_model", "speculative_model": "Qwen/Qwen3-0.6B"}
MIMO = {**bundled("XiaomiMiMo/MiMo-7B-Base").config, "num_hidden_layers": 2, "hidden_size": 256, "vocab_size": 1024,
        "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 512, "head_dim": 32}  # fmt: skip
HEAD = {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "num_hidden_layers": 1, "hidden_size": 4096,
        "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 12288, "vocab_size": 151936,
        "draft_vocab_size": 32000, "max_position_embeddings": 40960}  # fmt: skip


def planned(model: str, engine: str = "vllm", version: str | None = None, **pinned: Any) -> Plan:
    return plan_launch(EIGHT_H100, model, engine, version, Wanted(pinned=Parameters(**pinned)))


def directory(folder: Path, config: dict[str, Any], **more: tuple[str, tuple[int, ...]]) -> str:
    """A model of this config, with headers, and with ``more`` tensors."""
    write(folder, read(config), **more)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


@pytest.mark.parametrize("version", ["0.5.3", "0.5.23"])
@pytest.mark.parametrize("draft", [NGRAM, STANDALONE])
def test_sglang_takes_no_draft_of_these_beside_replicas_of_the_attention(version, draft):
    plan = planned("Qwen/Qwen3-30B-A3B", "sglang", version, data_parallel_size=2, **draft)
    assert plan.verdict == "NO"
    assert "where replicas of the attention share experts" in plan.reason
    assert planned("Qwen/Qwen3-30B-A3B", "sglang", version, data_parallel_size=1, **draft).verdict == "FITS"


def test_deepseek_v4_guesses_with_a_layer_of_its_own_kind():
    """256 experts of 3 × 2048 × 4096 in 4 bit with scales of 32, over 8 ranks: 0.40 GiB, and what lies around them."""
    pinned = {"tensor_parallel_size": 8, "pipeline_parallel_size": 1}
    plain, drafting = (planned("deepseek-ai/DeepSeek-V4-Flash", version="0.28.0", **pinned, **of) for of in ({}, MTP))
    assert (plain.verdict, drafting.verdict) == ("FITS", "FITS")
    more = drafting.memory.weights_bytes.low - plain.memory.weights_bytes.low
    assert 0.40 < more / 2**30 < 0.55
    assert drafting.kv.capacity_tokens < plain.kv.capacity_tokens


def test_sglang_guesses_nothing_over_a_pipeline():
    plan = planned("Qwen/Qwen3-32B", "sglang", "0.5.10", pipeline_parallel_size=2, **NGRAM)
    assert plan.verdict == "NO"
    assert plan.reason.endswith("sglang 0.5.10 guesses no tokens ahead over the stages of a pipeline")
    assert planned("Qwen/Qwen3-32B", "vllm", "0.32.0", pipeline_parallel_size=2, **NGRAM).verdict == "FITS"


def test_what_would_make_it_fit_is_no_pipeline_where_drafts_take_none():
    pinned = {**NGRAM, "tensor_parallel_size": 1}
    plan = planned("meta-llama/Meta-Llama-3.1-70B", "sglang", "0.5.23", **pinned)
    assert plan.verdict == "NO"
    assert "PP" not in plan.lever


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"vocab_size": 128256}, "a head of 128,256 words for a model of 151,936"),
        ({"target_hidden_size": 5120}, "a head for hidden states of 5,120 for a model of 4,096"),
        ({"hidden_size": 2048}, "a head for hidden states of 2,048 for a model of 4,096"),
    ],
)
def test_a_head_of_another_model_is_not_known(tmp_path, changes, why):
    (tmp_path / "config.json").write_text(json.dumps(HEAD | changes), encoding="utf-8")
    pinned = {**MTP, "speculative_method": "eagle3", "speculative_model": str(tmp_path)}
    plan = planned("Qwen/Qwen3-8B", **pinned)
    assert plan.verdict == "UNKNOWN"
    assert why in plan.reason


def test_draft_layers_that_the_config_names_and_the_files_lack_are_refused(tmp_path):
    model = directory(tmp_path, MIMO)
    plan = planned(model, **MTP)
    assert plan.verdict == "NO"
    assert plan.reason == f"cannot be: the files lack 1 draft layer of {model}: 0 B lie there beside its other layers"
    assert planned(model).verdict == "FITS"


def test_draft_layers_in_the_files_are_loaded_where_they_guess(tmp_path):
    layer = {"model.mtp_layers.0.input_proj.weight": ("BF16", (256, 512)),
             "model.mtp_layers.0.mlp.weight": ("BF16", (3 * 512, 256)),
             "model.mtp_layers.0.self_attn.weight": ("BF16", (640, 256))}  # fmt: skip
    model = directory(tmp_path, MIMO, **layer)
    assert "which are not loaded" in planned(model).sources["weights_bytes"]
    guessing = planned(model, **MTP)
    assert guessing.verdict == "FITS"
    assert "which guess tokens" in guessing.sources["weights_bytes"]
    assert "not loaded" not in guessing.sources["weights_bytes"]


def test_one_gpu_is_no_several():
    one = declared_snapshot("1xH100-80GB", None)
    plan = plan_launch(one, "Qwen/Qwen3-8B", "vllm", None, Wanted(pinned=Parameters(tensor_parallel_size=4)))
    assert plan.reason == "cannot be: TP 4 needs 4 ranks: there is 1 GPU"
