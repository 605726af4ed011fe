"""Which of LMDeploy's two engines is planned, and why? Expectations: its own autoget_backend, and what each can run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from diag.declared import declared_snapshot
from diag.engines import plan_launch
from diag.errors import DiagError
from diag.facts.plan import Parameters, Plan
from diag.planner.wanted import Wanted
from tests.planner.clusters import CONFIGS
from tests.planner.families.published import DEEPSEEK_V3, GLM_47_FLASH


@pytest.fixture
def launched(tmp_path: Path):
    def launch(config: Any, hardware: str = "8xH100", version: str = "0.18.0", **pinned: Any) -> Plan:
        model = config
        if not isinstance(config, str):
            model = str(tmp_path)
            (tmp_path / "config.json").write_text(json.dumps(config))
        wanted = Wanted(pinned=Parameters(**pinned))
        return plan_launch(declared_snapshot(hardware), model, "lmdeploy", version, wanted)

    return launch


BY_ITSELF = "what lmdeploy 0.18.0 starts by itself for "
MISTRAL = CONFIGS["mistral-7b"]
WINDOWS = MISTRAL | {"sliding_window": 4096}
ODD_HEADS = CONFIGS["llama-8b"] | {"head_dim": 96}
AWQ = {"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True,
                               "version": "gemm"}}  # fmt: skip

FP8_OF_TENSORS = CONFIGS["qwen3-8b"] | {"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}}


@pytest.mark.parametrize(
    ("config", "hardware", "version", "backend", "why"),
    [
        ("Qwen/Qwen3-8B", "8xH100", "0.18.0", "turbomind", BY_ITSELF + "Qwen3ForCausalLM"),
        ("Qwen/Qwen3-8B", "8xV100-32GB", "0.18.0", "turbomind", BY_ITSELF + "Qwen3ForCausalLM"),
        ("Qwen/Qwen3-30B-A3B-FP8", "8xH100", "0.18.0", "turbomind", BY_ITSELF + "Qwen3MoeForCausalLM"),
        (FP8_OF_TENSORS, "8xH100", "0.18.0", "pytorch", "it loads blocks of FP8, AWQ"),
        ("deepseek-ai/DeepSeek-V3", "16xH200", "0.18.0", "pytorch", "starts no turbomind for DeepseekV3ForCausalLM"),
        ("Qwen/Qwen3-8B", "8xMXC500", "0.18.0", "pytorch", "turbomind runs on NVIDIA's GPUs only"),
        (MISTRAL, "8xH100", "0.13.0", "turbomind", "for MistralForCausalLM"),
        (MISTRAL, "8xH100", "0.14.0", "pytorch", "starts no turbomind for MistralForCausalLM"),
        (WINDOWS, "8xH100", "0.13.0", "pytorch", "turbomind heeds no windows of MistralForCausalLM"),
        (ODD_HEADS, "8xH100", "0.18.0", "pytorch", "turbomind has no attention for heads of 96 elements"),
        (GLM_47_FLASH, "8xH100", "0.12.1", "pytorch", "starts no turbomind for Glm4MoeLiteForCausalLM"),
        (GLM_47_FLASH, "8xH100", "0.12.2", "turbomind", "for Glm4MoeLiteForCausalLM"),
        (GLM_47_FLASH | AWQ, "8xH100", "0.18.0", "pytorch", "folds the weights of latent attention in 16 bit only"),
    ],
)
def test_turbomind_is_planned_where_it_starts_and_runs(launched, config, hardware, version, backend, why):  # noqa: PLR0917
    plan = launched(config, hardware, version)
    assert plan.sources["backend"].startswith(f"{backend}: ")
    assert why in plan.sources["backend"]


def test_the_command_names_what_was_planned(launched):
    plan = launched("openai/gpt-oss-20b")
    assert plan.verdict == "FITS"
    assert plan.recipe.argv[4:6] == ("--backend", "turbomind")
    assert plan.parameters.backend == "turbomind"
    assert plan.sources["--backend"] == BY_ITSELF + "GptOssForCausalLM"


@pytest.mark.parametrize("backend", ["pytorch", "turbomind"])
def test_a_backend_can_be_set(launched, backend):
    plan = launched("Qwen/Qwen3-8B", backend=backend)
    assert plan.recipe.argv[4:6] == ("--backend", backend)
    assert plan.sources["--backend"] == "as you set it"


def test_a_backend_that_does_not_know_the_model_is_refused(launched):
    plan = launched("deepseek-ai/DeepSeek-V3", "16xH200", backend="turbomind")
    assert (plan.verdict, plan.reason) == ("NO", "cannot be: turbomind 0.18.0 lists no DeepseekV3ForCausalLM")


def test_a_backend_that_there_is_not_is_one_clear_line(launched):
    with pytest.raises(
        DiagError, match="backend=tgi: found no such backend of lmdeploy, expected pytorch or turbomind"
    ):
        launched("Qwen/Qwen3-8B", backend="tgi")


@pytest.mark.parametrize(
    ("pinned", "why"),
    [
        ({"expert_parallel": True}, "whole experts are not planned with turbomind"),
        ({"data_parallel_size": 2}, "shared and whole experts are not planned with turbomind"),
        ({"kv_cache_dtype": "fp8"}, "it has no FP8 cache"),
    ],
)
def test_what_only_the_pytorch_engine_does_is_planned_with_it(launched, pinned, why):
    plan = launched("Qwen/Qwen3-30B-A3B", **pinned)
    assert plan.parameters.backend == "pytorch"
    assert why in plan.sources["backend"]


def test_latent_attention_of_other_models_stays_with_the_pytorch_engine(launched):
    assert launched(DEEPSEEK_V3, "16xH200", "0.13.0").parameters.backend == "pytorch"


@pytest.mark.parametrize("engine", ["vllm", "sglang", "ollama"])
def test_a_backend_of_an_engine_that_has_none_is_refused(engine):
    wanted = Wanted(pinned=Parameters(backend="pytorch"))
    with pytest.raises(DiagError, match=f"backend=pytorch: {engine} has no backends to choose from"):
        plan_launch(declared_snapshot("8xH100"), "Qwen/Qwen3-8B", engine, wanted=wanted)
