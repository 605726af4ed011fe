"""Has a model as many parameters as huggingface.co counts in its safetensors? A figure for each family."""

from __future__ import annotations

import pytest

from diag.planner.model import catalogue
from diag.planner.model.families import read
from diag.planner.model.shards import checkpoint_bytes, parameter_count
from tests.planner import oracle

SHIPPED = {
    "meta-llama/Meta-Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Meta-Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Meta-Llama-3.1-405B": 405_853_388_800,
    "mistralai/Mixtral-8x7B-v0.1": 46_702_792_704,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "Qwen/Qwen3-30B-A3B": 30_532_122_624,
    "Qwen/Qwen3-235B-A22B": 235_093_634_560,
    "Qwen/Qwen3-Coder-480B-A35B-Instruct": 480_154_875_392,
    "openai/gpt-oss-20b": 20_914_757_184,
    "openai/gpt-oss-120b": 116_829_156_672,
    "deepseek-ai/DeepSeek-V3": 671_026_419_200,
}
"""gpt-oss: its model card. DeepSeek-V3: 671B in its report, without the draft layer."""
OTHERS = {
    "mistralai__Mistral-7B-v0.1": 7_241_732_096,
    "Qwen__Qwen2.5-7B-Instruct": 7_615_616_512,
    "microsoft__Phi-3-mini-4k-instruct": 3_821_079_552,
    "microsoft__phi-4": 14_659_507_200,
    "google__gemma-7b": 8_537_680_896,
    "google__gemma-2-9b": 9_241_705_984,
    "google__gemma-3-27b-it": 27_432_406_640,
    "mistralai__Mistral-Small-3.1-24B-Instruct-2503": 24_011_361_280,
    "Qwen__Qwen2-VL-7B-Instruct": 8_291_375_616,
    "Qwen__Qwen2.5-VL-7B-Instruct": 8_292_166_656,
    "THUDM__GLM-4-9B-0414": 9_400_279_040,
    "HuggingFaceTB__SmolLM3-3B": 3_075_098_624,
    "internlm__internlm2_5-7b-chat": 7_737_708_544,
    "facebook__opt-6.7b": 6_658_473_984,
    "BAAI__bge-reranker-v2-m3": 567_755_777,
}
UNREAD = {
    "tiiuae__falcon-7b": (7_217_189_760, 65_024 * 4544),  # the head, which is the embedding again
    "tiiuae__falcon-180B": (179_522_565_120, 65_024 * 14_848),
    "BAAI__bge-m3": (567_754_752, 1024 * 1024 + 1024),  # a pooler
    "answerdotai__ModernBERT-base": (149_655_232, 768 * 768 + 768 + 50_368),  # what predicts masked words
}
"""What the file holds beside what an engine loads."""


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_of_the_catalogue_has_the_published_parameters(name):
    files = catalogue.bundled(name)
    assert parameter_count(read(files.config, files.hf_quant)) == SHIPPED[name]


@pytest.mark.parametrize("name", OTHERS)
def test_a_model_of_another_family_has_the_published_parameters(name):
    assert parameter_count(oracle.model(name)) == OTHERS[name]


@pytest.mark.parametrize("name", UNREAD)
def test_what_engines_do_not_load_is_not_counted(name):
    published, beside = UNREAD[name]
    assert parameter_count(oracle.model(name)) == published - beside


def test_a_checkpoint_has_the_bytes_of_its_own_type():
    """Gemma 2 is published in float32, and loaded in 16 bit."""
    assert checkpoint_bytes(oracle.model("google__gemma-2-9b")) == 4 * OTHERS["google__gemma-2-9b"]
    assert checkpoint_bytes(oracle.model("microsoft__phi-4")) == 2 * OTHERS["microsoft__phi-4"]
