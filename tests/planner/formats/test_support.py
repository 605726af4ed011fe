"""Formats by engine, version and device. Expectations: the engines' own minima (get_min_capability) and kernels."""

from __future__ import annotations

import pytest

from diag.planner.model.formats.support import how, release
from diag.planner.model.formats.support_rules import RULES

KINDS = [
    # engine, version, capability, format, kind
    ("vllm", "0.33.0", 80, "bf16", "native"),
    ("vllm", "0.33.0", 75, "bf16", "unsupported"),  # T4
    ("vllm", "0.33.0", 70, "bf16", "unsupported"),  # V100
    ("vllm", "0.33.0", 70, "fp16", "native"),
    ("vllm", "0.33.0", 80, "fp8_block", "weight_only"),
    ("vllm", "0.33.0", 86, "fp8", "weight_only"),
    ("vllm", "0.33.0", 89, "fp8_block", "native"),
    ("vllm", "0.33.0", 90, "fp8_block", "native"),
    ("vllm", "0.33.0", 75, "fp8", "weight_only"),
    ("vllm", "0.13.0", 75, "fp8", "unsupported"),
    ("vllm", "0.8.5", 80, "fp8", "weight_only"),
    ("vllm", "0.8.5", 80, "fp8_block", "unsupported"),
    ("vllm", "0.9.0", 80, "fp8_block", "weight_only"),
    ("vllm", "0.33.0", 90, "nvfp4", "weight_only"),
    ("vllm", "0.33.0", 100, "nvfp4", "native"),
    ("vllm", "0.33.0", 120, "nvfp4", "native"),
    ("vllm", "0.8.5", 90, "nvfp4", "unsupported"),
    ("vllm", "0.33.0", 100, "nvfp4a16", "weight_only"),
    ("vllm", "0.33.0", 90, "mxfp4", "weight_only"),
    ("vllm", "0.33.0", 100, "mxfp4", "native"),
    ("vllm", "0.10.0", 90, "mxfp4", "unknown"),
    ("vllm", "0.33.0", 80, "awq", "native"),
    ("vllm", "0.11.0", 75, "awq", "weight_only"),
    ("vllm", "0.33.0", 70, "awq", "unsupported"),
    ("vllm", "0.33.0", 70, "gptq", "weight_only"),
    ("vllm", "0.33.0", 90, "int8", "native"),
    ("vllm", "0.33.0", 100, "int8", "unsupported"),
    ("vllm", "0.19.0", 90, "gguf", "weight_only"),
    ("vllm", "0.33.0", 90, "gguf", "unsupported"),
    ("vllm", "0.33.0", 90, "bnb4", "unsupported"),
    ("vllm", "0.33.0", 90, "kv_fp8", "native"),
    ("vllm", "0.33.0", 80, "kv_fp8", "weight_only"),
    ("sglang", "0.5.23", 80, "fp8_block", "weight_only"),
    ("sglang", "0.5.23", 80, "int8_block", "native"),
    ("sglang", "0.4.6", 90, "nvfp4", "unknown"),
    ("lmdeploy", "0.18.0", 80, "fp8_block", "unknown"),
    ("lmdeploy", "0.18.0", 90, "fp8_block", "native"),
    ("lmdeploy", "0.18.0", 90, "mxfp4", "unsupported"),  # TurboMind's only
    ("turbomind", "0.18.0", 90, "mxfp4", "native"),
    ("turbomind", "0.9.2", 90, "mxfp4", "unsupported"),
    ("turbomind", "0.18.0", 70, "fp16", "native"),
    ("turbomind", "0.18.0", 70, "bf16", "unsupported"),
    ("turbomind", "0.18.0", 70, "awq", "weight_only"),
    ("turbomind", "0.18.0", 80, "gptq", "native"),
    ("turbomind", "0.11.1", 80, "int4_weights", "unsupported"),
    ("turbomind", "0.12.0", 80, "int4_weights", "native"),
    ("turbomind", "0.9.0", 80, "fp8_block", "unknown"),
    ("turbomind", "0.13.0", 80, "fp8_block", "weight_only"),
    ("turbomind", "0.16.0", 80, "fp8_block", "unknown"),
    ("turbomind", "0.16.0", 90, "fp8_block", "native"),
    ("turbomind", "0.18.0", 120, "fp8_block", "weight_only"),
    ("turbomind", "0.18.0", 90, "fp8", "unsupported"),  # it asks for blocks
    ("turbomind", "0.18.0", 90, "kv_fp8", "unsupported"),
    ("turbomind", "0.18.0", 60, "wheels", "unsupported"),
    ("turbomind", "0.18.0", 100, "wheels", "native"),
    ("turbomind", "0.16.0", 100, "wheels", "unknown"),
    ("lmdeploy", "0.18.0", 90, "gptq", "unsupported"),
    ("lmdeploy", "0.18.0", 80, "awq", "native"),
    ("lmdeploy", "0.16.0", 90, "int4_weights", "unsupported"),
    ("ollama", "0.33", 80, "mxfp4", "native"),
    ("ollama", "0.33", 80, "int8_weights", "unsupported"),
    ("vllm", "0.33.0", 80, "mla", "native"),
    ("vllm", "0.33.0", 75, "mla", "unknown"),
    ("vllm", "0.6.6", 90, "mla", "unknown"),  # it kept keys and values of all heads
    ("vllm", "0.33.0", 80, "sparse_mla", "unsupported"),
    ("vllm", "0.33.0", 90, "sparse_mla", "native"),
    ("vllm", "0.33.0", 103, "sparse_mla", "native"),
    ("vllm", "0.33.0", 110, "sparse_mla", "unsupported"),
    ("vllm", "0.33.0", 120, "sparse_mla", "native"),
    ("vllm", "0.21.0", 120, "sparse_mla", "unsupported"),
    ("vllm", "0.33.0", 89, "compressed_attention", "unsupported"),
    ("vllm", "0.33.0", 90, "compressed_attention", "native"),
    ("vllm", "0.24.0", 120, "compressed_attention", "unknown"),
    ("sglang", "0.5.23", 80, "sparse_mla", "unknown"),
    ("sglang", "0.5.23", 100, "sparse_mla", "native"),
    ("sglang", "0.5.23", 90, "compressed_attention", "native"),
    ("sglang", "0.5.20", 90, "compressed_attention", "unknown"),
    ("lmdeploy", "0.18.0", 80, "sparse_mla", "unsupported"),
    ("vllm", "0.33.0", 70, "wheels", "unsupported"),
    ("vllm", "0.33.0", 75, "wheels", "native"),
    ("vllm", "0.14.1", 70, "wheels", "native"),
    ("vllm", "0.17.0", 70, "wheels", "unknown"),
    ("vllm", "0.8.5", 60, "wheels", "unsupported"),
    ("vllm", "0.8.5", 90, "wheels", "native"),
    ("vllm", "0.8.5", 100, "wheels", "unsupported"),
    ("vllm", "0.9.0", 120, "wheels", "native"),
    ("sglang", "0.4.6", 100, "wheels", "unknown"),
    ("sglang", "0.5.23", 70, "wheels", "unsupported"),
    ("lmdeploy", "0.18.0", 90, "nvfp4", "unsupported"),
    ("ollama", "0.33", 61, "gguf", "native"),
    ("ollama", "0.33", 90, "fp8_block", "unsupported"),
]


@pytest.mark.parametrize(("engine", "version", "capability", "name", "kind"), KINDS)
def test_a_format_runs_as_the_engine_can(engine, version, capability, name, kind):
    support = how(engine, version, capability, "nvidia", name)
    assert support.kind == kind, support.why


def test_which_kernels_multiply_mxfp4_depends_on_the_device():
    """vLLM's get_mxfp4_backend: on 9.x Triton's where triton_kernels is there, on 8.x and 12.x Marlin."""
    told = {capability: how("vllm", "0.33.0", capability, "nvidia", "mxfp4").why for capability in (80, 90, 120)}
    assert [told[capability].endswith("slower; Marlin multiplies in 16 bit") for capability in told] == [
        True,
        False,
        True,
    ]
    assert "in Triton's kernels where triton_kernels is installed, else in Marlin" in told[90]


def test_experts_may_need_more_than_other_layers():
    assert how("sglang", "0.5.23", 80, "nvidia", "fp8_block", experts=True).kind == "unsupported"
    assert how("vllm", "0.8.5", 80, "nvidia", "fp8", experts=True).kind == "unsupported"
    assert how("vllm", "0.33.0", 80, "nvidia", "fp8_block", experts=True).kind == "weight_only"


def test_a_method_may_need_more_than_its_format():
    assert how("vllm", "0.24.0", 80, "nvidia", "fp8", method="modelopt").kind == "unsupported"
    assert how("vllm", "0.33.0", 80, "nvidia", "fp8", method="modelopt").kind == "weight_only"
    assert how("vllm", "0.24.0", 80, "nvidia", "fp8", method="fp8").kind == "weight_only"


def test_lmdeploy_s_pytorch_engine_asks_where_a_format_comes_from():
    assert how("lmdeploy", "0.18.0", 90, "nvidia", "awq", experts=True).kind == "unsupported"
    assert how("lmdeploy", "0.18.0", 90, "nvidia", "fp8", method="modelopt").kind == "unsupported"
    assert how("lmdeploy", "0.18.0", 90, "nvidia", "fp8_block", method="compressed-tensors").kind == "unsupported"
    assert how("lmdeploy", "0.18.0", 90, "nvidia", "int4_weights").kind == "unsupported"
    assert how("lmdeploy", "0.18.0", 90, "nvidia", "int4_weights", experts=True).kind == "native"


OTHER_VENDORS = [
    # engine, version, vendor, capability, format, kind
    ("vllm", "0.22.0", "metax", None, "bf16", "native"),
    ("vllm", "0.22.0", "metax", None, "int8", "native"),
    ("vllm", "0.22.0", "metax", None, "awq", "native"),
    ("vllm", "0.22.0", "metax", None, "gptq", "native"),
    ("vllm", "0.8.5", "metax", None, "awq", "unknown"),  # before the plugin said what it takes
    ("vllm", "0.13.0", "metax", None, "fp8_block", "unsupported"),
    ("vllm", "0.22.0", "metax", None, "fp8_block", "unknown"),  # behind a variable
    ("vllm", "0.22.0", "metax", None, "mxfp4", "unsupported"),
    ("vllm", "0.22.0", "metax", None, "kv_fp8", "unsupported"),
    ("sglang", "0.5.23", "metax", None, "bf16", "unknown"),
    ("vllm", "0.22.0", "metax", None, "mla", "native"),
    ("vllm", "0.22.0", "metax", None, "sparse_mla", "unknown"),
    ("vllm", "0.32.0", "amd", 94, "sparse_mla", "native"),
    ("vllm", "0.32.0", "amd", 94, "compressed_attention", "unknown"),
    ("vllm", "0.32.0", "amd", 94, "bf16", "native"),
    ("vllm", "0.32.0", "amd", 94, "fp8", "native"),
    ("vllm", "0.32.0", "amd", 90, "fp8", "unknown"),
    ("vllm", "0.32.0", "amd", None, "fp8", "unknown"),
    ("vllm", "0.32.0", "amd", 94, "mxfp4", "weight_only"),
    ("vllm", "0.32.0", "amd", 95, "mxfp4", "native"),
    ("vllm", "0.32.0", "amd", 94, "gguf", "unsupported"),
    ("sglang", "0.5.23", "amd", 94, "fp8_block", "native"),
    ("sglang", "0.5.23", "amd", 95, "mxfp4", "native"),
    ("sglang", "0.5.23", "amd", 94, "gguf", "unsupported"),
    ("vllm", "0.13.0", "ascend", None, "int8", "native"),
    ("vllm", "0.13.0", "ascend", None, "fp8_block", "unknown"),
    ("sglang", "0.5.23", "ascend", None, "awq", "weight_only"),
    ("vllm", "0.33.0", "hygon", None, "fp8_block", "unknown"),
    ("vllm", "0.33.0", "unknown", None, "awq", "unknown"),
]


@pytest.mark.parametrize("row", OTHER_VENDORS, ids=str)
def test_of_other_vendors_only_what_is_published_is_known(row):
    engine, version, vendor, capability, name, kind = row
    support = how(engine, version, capability, vendor, name)
    assert support.kind == kind, support.why


def test_a_format_behind_a_variable_names_it():
    assert "VLLM_METAX_ENABLE_FP8_WEIGHT=1" in how("vllm", "0.22.0", None, "metax", "fp8").why


def test_modelopt_needs_nvidia_in_sglang():
    assert how("sglang", "0.5.23", 94, "amd", "fp8", method="modelopt").kind == "unsupported"


def test_a_capability_that_is_not_known_answers_nothing():
    support = how("vllm", "0.33.0", None, "nvidia", "fp8_block")
    assert support.kind == "unknown"
    assert "compute capability" in support.why


def test_an_engine_or_a_format_that_is_not_known_is_unknown():
    assert how("tensorrt", "1.0", 90, "nvidia", "fp8").kind == "unknown"
    assert how("vllm", "0.33.0", 90, "nvidia", "exl3").kind == "unknown"


def test_a_newer_version_counts_as_the_newest_known():
    newer, newest = (how("vllm", version, 80, "nvidia", "fp8_block") for version in ("99.0", None))
    assert (
        newer.why == "fp8_block with vllm 99.0 on nvidia sm80: saves memory only, slower; Marlin multiplies in 16 bit"
    )
    assert (newer.kind, newer.source) == (newest.kind, newest.source)


def test_what_cannot_run_says_what_it_needs():
    assert "needs compute capability 8.0" in how("vllm", "0.33.0", 75, "nvidia", "bf16").why
    assert "dropped in 0.24" in how("vllm", "0.33.0", 90, "nvidia", "gguf").why


def test_releases_compare_by_number():
    assert release("0.9.2") < release("0.10.0rc1") < release("0.15.1") < release("0.33.0+cu129")


def test_every_rule_has_a_source_or_says_why():
    assert not [rule for rule in RULES if not (rule.source or rule.note)]


def test_steps_of_a_rule_rise():
    assert not [rule for rule in RULES if list(rule.steps) != sorted(rule.steps, key=lambda step: step[0])]
