"""Which models has a version of an engine a class for? Expectations: the registries of its releases."""

from __future__ import annotations

import pytest

from diag.declared import declared_snapshot
from diag.engines import ENGINES, plan_launch
from diag.planner.model import catalogue, gguf_config
from diag.planner.served import served

ANSWERS = [
    # engine, version, class, answer
    ("vllm", "0.33.0", "LlamaForCausalLM", "yes"),
    ("vllm", "0.3.0", "LlamaForCausalLM", "yes"),
    ("vllm", "0.8.3", "Qwen3ForCausalLM", "no"),
    ("vllm", "0.8.4", "Qwen3ForCausalLM", "yes"),
    ("vllm", "0.6.3", "GlmMoeDsaForCausalLM", "no"),
    ("vllm", "0.11.0", "MiniMaxM2ForCausalLM", "no"),
    ("vllm", "0.11.1", "MiniMaxM2ForCausalLM", "yes"),
    ("vllm", "0.11.1rc2", "MiniMaxM2ForCausalLM", "yes"),
    ("vllm", "0.12", "DeepseekV32ForCausalLM", "yes"),
    ("vllm", "1.0", "LlamaForCausalLM", "yes"),
    ("vllm", "0.21.0", "BambaForCausalLM", "yes"),
    ("vllm", "0.33.0", "BambaForCausalLM", "unknown"),  # until 0.23, then perhaps through Transformers
    ("vllm", "0.33.0", "NobodyForCausalLM", "unknown"),
    ("sglang", "0.4.6", "MiniMaxM2ForCausalLM", "no"),
    ("sglang", "0.5.5", "MiniMaxM2ForCausalLM", "yes"),
    ("sglang", "0.5.8.post1", "GlmMoeDsaForCausalLM", "no"),
    ("lmdeploy", "0.18.0", "Qwen3ForCausalLM", "yes"),
    ("lmdeploy", "0.18.0", "NemotronHForCausalLM", "no"),  # it has no other way to load a model
    ("lmdeploy", "0.12.3", "MllamaForConditionalGeneration", "no"),
    ("lmdeploy", "0.11.1", "MllamaForConditionalGeneration", "yes"),
    ("turbomind", "0.18.0", "GptOssForCausalLM", "yes"),
    ("turbomind", "0.9.2", "GptOssForCausalLM", "no"),
    ("turbomind", "0.13.0", "DeepseekV2ForCausalLM", "yes"),
    ("turbomind", "0.14.0", "DeepseekV2ForCausalLM", "no"),
    ("turbomind", "0.13.0", "Qwen2VLForConditionalGeneration", "yes"),
    ("turbomind", "0.15.0", "Qwen2VLForConditionalGeneration", "no"),  # it came back in 0.16
    ("turbomind", "0.16", "Qwen2VLForConditionalGeneration", "yes"),
    ("ollama", "0.33", "GptOssForCausalLM", "yes"),
    ("ollama", "0.33", "MiniMaxM3SparseForConditionalGeneration", "unknown"),
    ("other", "1.0", "LlamaForCausalLM", "unknown"),
    ("vllm", "0.33.0", "", "unknown"),
]


@pytest.mark.parametrize(("engine", "version", "name", "answer"), ANSWERS)
def test_a_class_is_known_since_it_was_registered(engine, version, name, answer):
    found = served(engine, version, name)
    assert found.kind == answer, found.why


def test_what_is_upgraded_is_the_package():
    assert served("turbomind", "0.9.2", "GptOssForCausalLM").lever.startswith("upgrade lmdeploy to ")
    assert served("vllm", "0.8.3", "Qwen3ForCausalLM").lever == "upgrade vllm to 0.8.4 or later"


def test_between_two_releases_that_were_read_nothing_is_certain():
    # 0.21.0 is on no index; 0.20.2 lacked the class, 0.22.0 has it
    kinds = [served("vllm", version, "Cohere2MoeForCausalLM").kind for version in ("0.20.2", "0.21.0", "0.22.0")]
    assert kinds == ["no", "unknown", "yes"]


UNLISTED = {
    "MiniMaxAI/MiniMax-M3": "its config names MiniMaxM3ForCausalLM; registered is MiniMaxM3SparseForCausalLM",
    "stepfun-ai/Step-3.7-Flash": "its config names Step3p7FlashForCausalLM; registered is Step3p7For…Generation",
    "stepfun-ai/Step-3.7-Flash-FP8": "as the one above",
}


def test_the_newest_vllm_knows_every_bundled_model():
    classes = {name: catalogue.bundled(name).config["architectures"][0] for name in catalogue.names()}
    unknown = {name for name, one in classes.items() if served("vllm", "0.33.0", one).kind != "yes"}
    assert unknown == set(UNLISTED)


def test_ollama_runs_every_gguf_file_that_can_be_read():
    names = {kind.architecture for kind in gguf_config.KINDS.values()}
    assert {name for name in names if served("ollama", "0.33.0", name).kind != "yes"} == set()


@pytest.mark.parametrize(
    ("engine", "version", "model", "why"),
    [
        ("vllm", "0.6.3", "zai-org/GLM-5", "vllm 0.6.3 does not know GlmMoeDsaForCausalLM: since 0.16.0"),
        ("sglang", "0.4.6", "MiniMaxAI/MiniMax-M2.5", "sglang 0.4.6 does not know MiniMaxM2ForCausalLM: since 0.5.5"),
        ("lmdeploy", "0.18.0", "nvidia/Nemotron-H-56B-Base-8K", "lmdeploy 0.18.0 lists no NemotronHForCausalLM"),
    ],
)
def test_what_a_version_does_not_know_cannot_be(engine, version, model, why):
    plan = plan_launch(declared_snapshot("2x8xB200"), model, engine, version)
    assert (plan.verdict, plan.reason) == ("NO", f"cannot be: {why}")
    assert plan.recipe.argv == ()


def test_the_lever_is_the_first_version_that_knows_it():
    plan = plan_launch(declared_snapshot("8xH100"), "Qwen/Qwen3-8B", "vllm", "0.8.3")
    assert plan.lever == "upgrade vllm to 0.8.4 or later"


def test_what_no_version_lists_is_unknown_with_all_figures():
    plan = plan_launch(declared_snapshot("2x8xB200"), "stepfun-ai/Step-3.7-Flash-FP8", "vllm", "0.33.0")
    assert plan.verdict == "UNKNOWN"
    assert "vllm 0.33.0 lists no Step3p7FlashForCausalLM" in plan.reason
    assert plan.kv.bytes_per_token


def test_a_version_newer_than_all_that_were_read_is_a_note():
    newer = plan_launch(declared_snapshot("8xH100"), "Qwen/Qwen3-8B", "vllm", "1.0")
    assert newer.notes[0] == "1.0 is newer than 0.33, the newest diag knows: planned by its rules"
    unnamed = plan_launch(declared_snapshot("8xH100"), "Qwen/Qwen3-8B")
    assert not any("newest diag knows" in note for note in unnamed.notes)
    assert "no version named or installed" in unnamed.sources["engine.version"]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_has_its_list(engine):
    assert served(engine, ENGINES[engine].rules(None).version, "LlamaForCausalLM").kind == "yes"
