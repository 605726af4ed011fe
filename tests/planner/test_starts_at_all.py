"""Does a plan leave out what a version cannot start: ways to divide a model, devices, kinds of attention?"""

from __future__ import annotations

import pytest

from diag.declared import declared_snapshot
from diag.engines import ENGINES, plan_launch
from diag.facts.plan import Parameters
from diag.planner.candidates import Cluster, candidates, why_impossible
from diag.planner.deployment import Deployment
from diag.planner.model.families import read
from diag.planner.wanted import Wanted
from tests.planner.clusters import CONFIGS, write_model

NODE = Cluster(nodes=1, per_node=8)
MIXTRAL, QWEN = read(CONFIGS["mixtral-8x7b"], None), read(CONFIGS["qwen3-30b-a3b"], None)


def shared(engine, version, architecture):
    """(replicas of the attention, whole experts) that are tried."""
    found = candidates(architecture, ENGINES[engine].rules(version), NODE, Parameters())
    return any(one.dp > 1 for one in found), any(one.ep for one in found)


@pytest.mark.parametrize(
    ("engine", "version", "architecture", "ways"),
    [
        ("vllm", "0.7.3", MIXTRAL, (False, False)),
        ("vllm", "0.8.0", MIXTRAL, (False, True)),  # --enable-expert-parallel
        ("vllm", "0.8.3", MIXTRAL, (True, True)),  # --data-parallel-size
        ("sglang", "0.4.6", MIXTRAL, (False, True)),
        ("sglang", "0.4.6", QWEN, (False, False)),
        ("sglang", "0.4.7", QWEN, (True, True)),
        ("sglang", "0.5.23", QWEN, (True, True)),
        ("ollama", "0.33", QWEN, (False, False)),
    ],
)
def test_experts_are_shared_as_a_version_can(engine, version, architecture, ways):
    assert shared(engine, version, architecture) == ways


@pytest.mark.parametrize(
    ("engine", "version", "deployment", "why"),
    [
        ("vllm", "0.7.3", Deployment(tp=4, ep=True), "vllm 0.7.3 has no expert parallelism for MixtralForCausalLM"),
        (
            "vllm",
            "0.8.2",
            Deployment(tp=4, dp=2),
            "vllm 0.8.2 has no data parallelism that shares the experts of Mixtr",
        ),
        ("vllm", "0.5.0", Deployment(tp=4, pp=2), "vllm 0.5.0 divides no layers over a pipeline"),
        ("sglang", "0.4.6", Deployment(tp=4, pp=2), "sglang 0.4.6 divides no layers over a pipeline"),
    ],
)
def test_what_a_version_cannot_divide_is_refused(engine, version, deployment, why):
    found = why_impossible(deployment, MIXTRAL, ENGINES[engine].rules(version), NODE)
    assert found is not None
    assert found.startswith(why)


@pytest.mark.parametrize(
    ("engine", "version"), [("vllm", "0.7.3"), ("lmdeploy", "0.10.2"), ("ollama", "0.33.0")], ids=str
)
def test_copies_that_need_a_command_each_are_a_note(engine, version, tmp_path):
    plan = plan_launch(declared_snapshot("8xH100"), write_model(tmp_path, "llama-8b"), engine, version)
    assert any("such servers on a node, each with GPUs of its own" in note for note in plan.notes), plan.notes


@pytest.mark.parametrize(
    ("hardware", "model", "engine", "version", "why"),
    [
        ("8xA100-80GB", "zai-org/GLM-5-FP8", "vllm", "0.33.0", "sparse latent attention"),
        ("8xA100-80GB", "deepseek-ai/DeepSeek-V4-Flash", "vllm", "0.33.0", "attention over compressed tokens"),
        ("8xB200", "Qwen/Qwen3-8B", "vllm", "0.8.5", "no kernels for Blackwell"),
        ("8xV100-32GB", "Qwen/Qwen3-8B", "vllm", "0.33.0", "CUDA 13"),
    ],
)
def test_what_has_no_kernels_cannot_be(hardware, model, engine, version, why):
    plan = plan_launch(declared_snapshot(hardware), model, engine, version)
    assert plan.verdict == "NO"
    assert why in plan.reason


def test_where_the_kernels_are_there_a_plan_is_as_before():
    plan = plan_launch(declared_snapshot("16x8xH100"), "zai-org/GLM-5-FP8", "vllm", "0.33.0", Wanted(context=8192))
    assert plan.verdict == "FITS"


def test_what_ollama_serves_is_imported_first(tmp_path):
    plan = plan_launch(declared_snapshot("8xH100"), write_model(tmp_path, "llama-8b"), "ollama")
    assert plan.verdict == "FITS"
    assert any("ollama create NAME" in note for note in plan.notes)
    refused = plan_launch(declared_snapshot("8xH100"), "Qwen/Qwen3-32B-FP8", "ollama")
    assert refused.verdict == "NO"
    assert "it serves GGUF files only" in refused.reason
    assert plan_launch(declared_snapshot("8xH100"), "openai/gpt-oss-20b", "ollama").verdict == "FITS"


def test_lmdeploy_s_pytorch_engine_takes_no_mxfp4():
    pinned = Wanted(pinned=Parameters(backend="pytorch"))
    plan = plan_launch(declared_snapshot("8xH100"), "openai/gpt-oss-20b", "lmdeploy", "0.18.0", pinned)
    assert plan.verdict == "NO"
    assert "no such quant_method" in plan.reason
