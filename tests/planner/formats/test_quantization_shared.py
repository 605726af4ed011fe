"""Every quantized checkpoint among the recorded configs: its formats and its weights' bytes, as vLLM 0.32 made them.

Bytes are of rank 0 with one GPU, without the four scales of attention's cache (8 bytes a layer that vLLM drops again).
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from diag.planner.model.architecture import Architecture
from diag.planner.model.families import read
from diag.planner.model.shards import rank_weight_bytes
from diag.planner.unknown import NotKnown

MODELS = Path(__file__).parents[4] / "shared" / "models"
CLOSE = 1e-6
"""Scales of a whole matrix that vLLM shares or repeats where weights are merged."""

EXPECTED = {
    # name: method, kv cache, formats, bytes in vLLM (None: it cannot say)
    "MiniMaxAI__MiniMax-M2.5": ("fp8", None, "fp8_block", 230121631216),
    "Qwen__Qwen3-235B-A22B-FP8": ("fp8", None, "fp8_block", 236445456112),
    "Qwen__Qwen3-32B-FP8": ("fp8", None, "fp8_block", 34326243840),
    "Qwen__Qwen3-32B-FP8-Static-PerTensor": ("modelopt", "fp8", "fp8", None),  # names no method: vLLM reads bf16
    "deepseek-ai__DeepSeek-R1": ("fp8", None, "fp8_block", 673150611808),
    "moonshotai__Kimi-K2.5": ("compressed-tensors", None, "int4_weights", 595147824096),
    "nvidia__DeepSeek-V3.1-NVFP4": ("modelopt_fp4", "fp8", "nvfp4", 386380142984),
    "nvidia__GLM-5.1-NVFP4": ("modelopt_fp4", "fp8", "nvfp4", 445957863024),
    "nvidia__Kimi-K2.6-NVFP4": ("modelopt_fp4", "fp8", "nvfp4", 595148193224),
    "nvidia__Llama-3.1-70B-Instruct-FP8": ("modelopt", "fp8", "fp8", 72656376832),
    "nvidia__MiniMax-M2.5-NVFP4": ("modelopt_fp4", "fp8", "nvfp4", 134499275248),
    "nvidia__NVIDIA-Nemotron-3.5-Lightning-30B-A3B-NVFP4": ("modelopt_mixed", "fp8", "fp8 nvfp4a16", 18873137770),
    "nvidia__Qwen3-235B-A22B-NVFP4": ("modelopt_fp4", "fp8", "nvfp4", 134101652144),
    "nvidia__Qwen3.6-27B-NVFP4": ("modelopt_mixed", "fp8", "fp8 nvfp4a16", 21072034406),
    "openai__gpt-oss-120b": ("mxfp4", None, "mxfp4", None),  # padded: test_quantization_held.py
}


def architecture(name: str) -> Architecture:
    path = MODELS / f"{name}_config.json"
    if not path.exists():
        pytest.skip("no recorded configs beside the project")
    beside = MODELS / f"{name}_hf_quant_config.json"
    return read(json.loads(path.read_text()), json.loads(beside.read_text()) if beside.exists() else None)


def formats(model: Architecture) -> set[str]:
    weights = [*model.first, *model.last, *(weight for layer in model.layers for weight in layer.weights)]
    return {weight.format.name for weight in weights if weight.format}


@pytest.mark.shared
@pytest.mark.parametrize("name", EXPECTED)
def test_a_checkpoint_is_quantized_as_vllm_reads_it(name):
    method, kv_cache_dtype, expected, in_vllm = EXPECTED[name]
    model = architecture(name)
    assert model.quantization is not None
    assert (model.quantization.method, model.quantization.kv_cache_dtype) == (method, kv_cache_dtype)
    assert formats(model) == set(expected.split())
    if in_vllm is not None:
        assert rank_weight_bytes(model, tp=1) == pytest.approx(in_vllm, rel=CLOSE)


@pytest.mark.shared
@pytest.mark.parametrize("size", ["Super-120B-A12B-FP8", "Super-120B-A12B-NVFP4", "Ultra-550B-A55B-FP8"])
def test_a_file_that_does_not_say_what_is_left_alone_is_not_known(size):
    with pytest.raises(NotKnown, match="without a list of modules"):
        architecture(f"nvidia__NVIDIA-Nemotron-3-{size}")


@pytest.mark.shared
def test_every_recorded_config_that_is_quantized_is_read_or_named():
    if not MODELS.exists():
        pytest.skip("no recorded configs beside the project")
    unread = {}
    for path in sorted(MODELS.glob("*_config.json")):
        name = path.name.removesuffix("_config.json")
        if name.endswith("_hf_quant"):
            continue
        try:
            model = architecture(name)
        except NotKnown as error:
            unread[name] = str(error)
        else:
            assert model.quantization is None or formats(model)
    assert all("quantization" in why or "model_type" in why for why in unread.values()), unread
