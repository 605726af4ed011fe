"""Which version of an engine runs which format from which compute capability on: data, each row with its source.

A rule holds until a later one of the same formats. Sources are files of the engine as it was at that version; rules of
SGLang and LMDeploy's PyTorch engine were read at 0.5.23 and 0.18.0, older versions may do less. Beside formats:
``mla``, ``sparse_mla`` and ``compressed_attention``, the attention of some models; ``wheels``, what its releases on
PyPI run on at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

import msgspec

Kind = Literal["native", "weight_only", "unsupported", "unknown"]
"""``weight_only``: saves memory but multiplies in 16 bit, or in a slow kernel: prefill is slower than the bits say."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """``steps``: from this compute capability on; below the first it does not run; none: the engine dropped it."""

    engine: str
    since: str
    formats: tuple[str, ...]
    steps: tuple[tuple[int, Kind], ...]
    source: str
    note: str = ""
    """Why it is not native; ``notes``: where that is another reason from a step on."""
    notes: tuple[tuple[int, str], ...] = ()
    vendor: str = "nvidia"
    experts: bool = False
    """Only of routed experts."""
    method: str = ""
    """Only of checkpoints of this ``quant_method``."""


def _of(engine: str, vendor: str = "nvidia") -> Callable[..., Rule]:
    def rule(since: str, formats: str, steps: str, source: str, note: str = "", **only: Any) -> Rule:
        return Rule(
            engine=engine,
            since=since,
            formats=tuple(formats.split()),
            steps=tuple(_step(step) for step in steps.split(",") if step),
            source=source,
            note=note,
            vendor=vendor,
            **only,
        )

    return rule


def _step(words: str) -> tuple[int, Kind]:
    least, kind = words.split()
    return int(least), cast("Kind", kind)


_vllm, _sglang, _lmdeploy, _ollama = _of("vllm"), _of("sglang"), _of("lmdeploy"), _of("ollama")
_turbomind = _of("turbomind")

QUANT = "vllm/model_executor/layers/quantization/"
MARLIN = "Marlin multiplies in 16 bit"
MXFP4 = QUANT + "mxfp4.py (get_mxfp4_backend), later layers/fused_moe/oracle/mxfp4.py"
TRITON = "gpt-oss in Triton's kernels where triton_kernels is installed, else in Marlin: both multiply in 16 bit"
HOPPER = (90, TRITON), (120, MARLIN)
CUTLASS = "vllm csrc/quantization/w8a8/cutlass/c3x/scaled_mm_helper.hpp"
CUDA = "vllm/platforms/cuda.py"
WNA16 = QUANT + "compressed_tensors/schemes/compressed_tensors_wNa16.py"
NO_FP8 = "its Triton kernels have no FP8 there"

MLA = "vllm/v1/attention/backends/mla"
V4 = "vllm/models/deepseek_v4"
MLA_9_10 = "its kernels are of 9.x and 10.x"
MLA_9_10_12 = "its kernels are of 9.x, 10.x and 12.x"
WHEELS = "METADATA of its wheels"
BEFORE_BLACKWELL = "torch 2.6 and before, which it needs, has no kernels for Blackwell"
CUDA_13 = "torch 2.11 and later, which it needs, is built with CUDA 13, without Volta"
"""As torch is on PyPI: its METADATA needs cuda-toolkit 13.0. CUDA 13.0 compiles for nothing before 7.5."""

VLLM = (
    _vllm("0", "bf16", "80 native", CUDA),
    _vllm("0", "fp16", "60 native", CUDA),
    _vllm("0", "fp8", "80 weight_only,89 native", QUANT + "fp8.py", MARLIN),
    _vllm("0", "fp8_block", "89 native", QUANT + "fp8.py", "Marlin took no blocks before 0.9"),
    _vllm("0", "fp8", "89 native", QUANT + "fp8.py", "Marlin took no FP8 experts before 0.9", experts=True),
    _vllm("0.9.0", "fp8 fp8_block", "80 weight_only,89 native", QUANT + "fp8.py", MARLIN),
    _vllm("0.15.1", "fp8 fp8_block", "75 weight_only,89 native", QUANT + "fp8.py", MARLIN),
    _vllm("0", "fp8", "89 native", QUANT + "modelopt.py", "ModelOpt's had no Marlin", method="modelopt"),
    _vllm("0.28", "fp8", "80 weight_only,89 native", QUANT + "modelopt.py", MARLIN, method="modelopt"),
    _vllm("0.19", "mxfp8", "100 native", QUANT + "modelopt.py"),
    _vllm("0.24", "mxfp8", "80 weight_only,100 native", QUANT + "modelopt.py", MARLIN),
    _vllm("0", "int8", "75 native,100 unsupported", CUTLASS, "CUTLASS has no INT8 from sm100 on"),
    _vllm("0", "awq", "75 weight_only,80 native", QUANT + "awq.py, awq_marlin.py", "a slow kernel, in float16"),
    _vllm("0.15.1", "awq", "75 native", QUANT + "awq_marlin.py"),
    _vllm("0", "gptq", "60 weight_only,80 native", QUANT + "gptq.py, gptq_marlin.py", "exllama's kernel, in float16"),
    _vllm("0.15.1", "gptq", "60 weight_only,75 native", QUANT + "gptq_marlin.py", "exllama's kernel, in float16"),
    _vllm("0", "int4_weights int8_weights", "80 native", WNA16),
    _vllm("0.13", "int4_weights int8_weights", "75 native", WNA16),
    _vllm("0", "nvfp4", "100 native", QUANT + "modelopt.py", "no Marlin for FP4 before 0.9"),
    _vllm("0.9.0", "nvfp4", "80 weight_only,100 native", QUANT + "modelopt.py", MARLIN),
    _vllm("0.15.1", "nvfp4", "75 weight_only,100 native", QUANT + "modelopt.py", MARLIN),
    _vllm("0.9.0", "nvfp4a16", "80 weight_only", QUANT + "modelopt.py", MARLIN),
    _vllm("0.15.1", "nvfp4a16", "75 weight_only", QUANT + "modelopt.py", MARLIN),
    _vllm("0.10.1", "mxfp4", "80 weight_only,90 weight_only,100 native,120 weight_only", MXFP4, MARLIN, notes=HOPPER),
    _vllm("0", "bnb4 bnb8", "70 weight_only", QUANT + "bitsandbytes.py", "multiplies in 16 bit"),
    _vllm("0.28", "bnb4 bnb8", "", QUANT + "__init__.py"),
    _vllm("0", "gguf", "60 weight_only", QUANT + "gguf.py", "multiplies in 16 bit"),
    _vllm("0.24", "gguf", "", QUANT + "__init__.py"),
    _vllm("0", "int8_block", "", QUANT + "__init__.py", "never read it"),
    _vllm("0", "kv_fp8", "80 unknown,90 native", "vllm/v1/attention/backends", "depends on the attention backend"),
    _vllm("0.32", "kv_fp8", "80 weight_only,89 native", "vllm/v1/attention/backends/flashinfer.py", "16-bit attention"),
    _vllm("0.32", "kv_nvfp4", "100 native", "vllm/v1/attention/backends/flashinfer.py"),
    _vllm("0", "mla", "0 unknown", "use_mla of vllm/config.py", "before 0.7.1 it kept keys and values of all heads"),
    _vllm("0.7.1", "mla", "0 unknown,80 native", MLA, "prefill needs FlashAttention"),
    _vllm("0.11", "sparse_mla", "90 native,110 unsupported", MLA + "/flashmla_sparse.py", MLA_9_10),
    _vllm("0.24", "sparse_mla", "90 native,110 unsupported,120 native,130 unsupported", MLA, MLA_9_10_12),
    _vllm("0.20", "compressed_attention", "90 native,110 unknown", MLA + "/sparse_swa.py", MLA_9_10),
    _vllm("0.32", "compressed_attention", "90 native,110 unsupported,120 native,130 unsupported", V4, MLA_9_10_12),
    _vllm("0", "wheels", "70 native,100 unsupported", WHEELS + ", release notes of torch 2.7", BEFORE_BLACKWELL),
    _vllm("0.9", "wheels", "70 native", WHEELS + ", installation/gpu of its documentation"),
    _vllm("0.15", "wheels", "70 unknown,75 native", WHEELS, "its documentation says 7.0 in 0.14, 7.5 in 0.21"),
    _vllm("0.20", "wheels", "75 native", WHEELS + ", installation/gpu of its documentation", CUDA_13),
)

SRT = "sglang/srt/layers/quantization/"
DSA = "sglang/srt/arg_groups/overrides.py, layers/attention/dsa_backend.py"
DSV4 = "sglang/srt/layers/attention/deepseek_v4_backend.py"

SGLANG = (
    _sglang("0", "bf16", "80 native", "sglang/srt/model_executor/model_runner_components/load_model_utils.py"),
    _sglang("0", "fp16", "75 native", "sglang/srt/model_executor/model_runner_components/load_model_utils.py"),
    _sglang("0", "fp8 fp8_block", "80 weight_only,89 native", SRT + "fp8_utils.py", MARLIN),
    _sglang("0", "fp8 fp8_block", "89 native", SRT + "fp8.py", NO_FP8, experts=True),
    _sglang("0", "fp8", "89 native", SRT + "modelopt_quant.py", "ModelOpt's has no Marlin", method="modelopt"),
    _sglang("0.5.23", "mxfp8", "100 native", SRT + "fp8.py"),
    _sglang("0", "int8", "75 native,100 unknown", SRT + "w8a8_int8.py"),
    _sglang("0", "int8_block", "80 native", SRT + "blockwise_int8.py"),
    _sglang("0", "awq gptq", "80 native", SRT + "awq/awq.py, gptq/gptq.py"),
    _sglang("0", "int4_weights int8_weights", "80 native", SRT + "compressed_tensors/schemes"),
    _sglang("0", "nvfp4", "80 unknown,100 native", SRT + "modelopt_quant.py"),
    _sglang("0.5.23", "nvfp4", "80 weight_only,100 native", SRT + "modelopt_quant.py", MARLIN),
    _sglang("0.5.23", "nvfp4a16", "80 weight_only", SRT + "compressed_tensors/schemes", MARLIN),
    _sglang("0.5", "mxfp4", "80 weight_only,100 native", SRT + "mxfp4.py", "multiplies in 16 bit"),
    _sglang("0", "bnb4 bnb8", "70 weight_only", SRT + "bitsandbytes.py", "multiplies in 16 bit"),
    _sglang("0", "gguf", "60 weight_only", SRT + "gguf.py", "multiplies in 16 bit"),
    _sglang("0", "kv_fp8", "80 unknown,89 native", "sglang/srt/server_args.py"),
    _sglang("0", "mla", "0 unknown,80 native", "sglang/srt/layers/attention/triton_backend.py"),
    _sglang("0.5.3", "sparse_mla", "0 unknown,90 native,110 unknown", DSA, "what it chooses itself is of 9.x and 10.x"),
    _sglang("0.5.12", "compressed_attention", "0 unknown", DSV4),
    _sglang("0.5.23", "compressed_attention", "0 unknown,90 native,110 unknown,120 native,130 unknown", DSV4),
    _sglang("0", "wheels", "0 unknown,75 native,100 unknown", WHEELS, "Blackwell has an extra of its own"),
    _sglang("0.4.7", "wheels", "0 unknown,75 native", WHEELS),
    _sglang("0.5.11", "wheels", "75 native", WHEELS, CUDA_13),
)

PYTORCH = "lmdeploy/pytorch/"
METHODS = PYTORCH + "config.py (QuantizationConfig.from_config)"
NO_METHOD = "its PyTorch engine has no such quant_method"
NO_SM90 = "FP8 checkpoints are checked for 9.0 only when their format is named"
W4A16 = "of compressed-tensors its PyTorch engine has 4-bit experts only"
FLASH_MLA = "needs the flash_mla package, of 9.x and 10.x"

LMDEPLOY = (
    _lmdeploy("0", "bf16", "80 native", PYTORCH),
    _lmdeploy("0", "fp16", "0 unknown,75 native", PYTORCH, "nothing was read of Volta with its PyTorch engine"),
    _lmdeploy("0", "awq", "0 unknown,75 native", PYTORCH + "nn/linear/awq.py"),
    _lmdeploy("0", "awq", "", PYTORCH + "nn/moe", "its PyTorch engine has no AWQ experts", experts=True),
    _lmdeploy("0", "gptq mxfp4 nvfp4 nvfp4a16 mxfp8 bnb4 bnb8 gguf int8_block", "", METHODS, NO_METHOD),
    _lmdeploy("0", "fp8_block", "0 unknown,90 native", PYTORCH + "check_env/cuda.py", NO_SM90),
    _lmdeploy("0", "fp8", "0 unknown", METHODS, "of whole tensors nothing was read before 0.18"),
    _lmdeploy("0.18", "fp8", "0 unknown,90 native", PYTORCH + "nn/linear/static_fp8.py", NO_SM90),
    _lmdeploy("0", "fp8", "", METHODS, NO_METHOD, method="modelopt"),
    _lmdeploy("0", "fp8 fp8_block int8 int8_weights", "", METHODS, W4A16, method="compressed-tensors"),
    _lmdeploy("0", "int4_weights", "", METHODS, "its PyTorch engine has no compressed-tensors before 0.17"),
    _lmdeploy("0.17", "int4_weights", "", PYTORCH + "nn/linear", "its PyTorch engine has it of routed experts only"),
    _lmdeploy("0.17", "int4_weights", "0 unknown,80 native", PYTORCH + "nn/moe/compressed_tensors.py", experts=True),
    _lmdeploy("0", "kv_int8 kv_int4", "70 native", "lmdeploy/messages.py"),
    _lmdeploy("0.18", "kv_fp8", "80 unknown,89 native", "lmdeploy/messages.py"),
    _lmdeploy("0", "mla", "0 unknown,80 native", PYTORCH + "configurations/deepseek_v2.py"),
    _lmdeploy("0.11.1", "sparse_mla", "90 native,110 unknown", PYTORCH + "configurations/deepseek_v32.py", FLASH_MLA),
    _lmdeploy("0.15", "compressed_attention", "90 native,110 unknown", PYTORCH + "configurations/deepseek_v4.py",
              FLASH_MLA),
)  # fmt: skip
"""Of its PyTorch engine; versions are LMDeploy's."""

KERNELS = "turbomind/kernels/gemm/kernel, CMakeLists.txt of LMDeploy"
LOADED = "lmdeploy/turbomind/converter.py, weight_format.py; turbomind/deploy before 0.14"
NO_LOADER = "it loads blocks of FP8, AWQ, GPTQ, MXFP4 and packed INT4 only"
NATIVE_FP8 = "turbomind/models/linear_weight.cc (DeriveActivationFormats); llama/LlamaDenseWeight.cc before 0.14"
OF_16_BIT = "multiplies in 16 bit"
UNEXPANDED = "scales of blocks were not expanded for older GPUs in 0.14 to 0.16"

TURBOMIND = (
    _turbomind("0", "bf16", "80 native", KERNELS),
    _turbomind("0", "fp16", "70 native", KERNELS),
    _turbomind("0", "awq gptq", "70 weight_only,80 native", KERNELS, OF_16_BIT),
    _turbomind("0", "int4_weights", "", LOADED, "it loads no compressed-tensors before 0.12"),
    _turbomind("0.12", "int4_weights", "70 weight_only,80 native", LOADED, OF_16_BIT),
    _turbomind("0", "mxfp4", "", LOADED, "it loads no MXFP4 before 0.10"),
    _turbomind("0.10", "mxfp4", "70 weight_only,80 native", KERNELS, OF_16_BIT),
    _turbomind("0", "fp8_block", "0 unknown,90 native,100 unknown", NATIVE_FP8, "its kernels were Hopper's"),
    _turbomind("0.10.1", "fp8_block", "70 weight_only,90 native,100 weight_only", NATIVE_FP8, OF_16_BIT),
    _turbomind("0.14", "fp8_block", "0 unknown,90 native,100 unknown", NATIVE_FP8, UNEXPANDED),
    _turbomind("0.17", "fp8_block", "70 weight_only,90 native,100 weight_only", NATIVE_FP8, OF_16_BIT),
    _turbomind("0", "fp8 int8 int8_weights int8_block nvfp4 nvfp4a16 mxfp8 bnb4 bnb8 gguf", "", LOADED, NO_LOADER),
    _turbomind("0", "fp8_block", "", LOADED, NO_LOADER, method="compressed-tensors"),
    _turbomind("0", "kv_int8 kv_int4", "70 native", "lmdeploy/messages.py"),
    _turbomind("0", "kv_fp8", "", "lmdeploy/messages.py", "it has no FP8 cache"),
    _turbomind("0", "mla", "0 unknown,80 native", "turbomind/kernels/attention/decoding.cu of 0.9"),
    _turbomind("0.12.2", "mla", "70 native", "turbomind/kernels/attention/kernel/decoding_sm70_576.cu"),
    _turbomind("0", "sparse_mla compressed_attention", "", "lmdeploy/turbomind/supported_models.py", "it has none"),
    _turbomind("0", "wheels", "70 native,100 unknown", KERNELS, "nothing was read of Blackwell before 0.18"),
    _turbomind("0.18", "wheels", "70 native", "code in its library: 7.0 to 9.0, 10.0 and 12.0"),
)
"""Of TurboMind by LMDeploy's versions. 4 bits are native from 8.0 on: its kernels keep up with 16 bit there."""

OLLAMA = (
    _ollama("0", "gguf bf16 fp16 kv_q8_0 kv_q4_0", "50 native", "https://docs.ollama.com/gpu"),
    _ollama("0", "fp8 fp8_block awq gptq nvfp4 nvfp4a16 mxfp8 int8 int8_block int4_weights int8_weights bnb4 bnb8", "",
            "convert/reader_safetensors.go", "it serves GGUF files only: plan for the file that you import it as"),
    _ollama("0", "mxfp4", "50 native", "convert/convert_gptoss.go: experts stay MXFP4 in GGUF"),
    _ollama("0", "mla", "50 native", "https://docs.ollama.com/gpu"),
)  # fmt: skip

_amd, _amd_sglang = _of("vllm", "amd"), _of("sglang", "amd")
ROCM = "vllm/platforms/rocm.py, model_executor/kernels/linear of 0.32"
SGLANG_TABLE = "docs.sglang.io/advanced_features/quantization: platform compatibility"
EMULATED = "emulated in 16 bit"
NO_MODELOPT = "ModelOpt's needs NVIDIA"

AMD = (
    _amd("0", "bf16 fp16", "0 native", ROCM),
    _amd("0", "fp8 fp8_block", "90 unknown,94 native", ROCM, "MI200 has no FP8"),
    _amd("0.8", "awq gptq", "90 weight_only", ROCM, "dequantized by Triton or exllama's kernel"),
    _amd("0.32", "int4_weights int8_weights", "90 weight_only", ROCM, "dequantized by Triton or exllama's kernel"),
    _amd("0.32", "int8", "90 native", ROCM),
    _amd("0.10.2", "mxfp4", "90 weight_only,95 native", ROCM, EMULATED),
    _amd("0.21", "mxfp8", "90 weight_only", ROCM, EMULATED),
    _amd("0.32", "mxfp8", "90 weight_only,95 native", ROCM, EMULATED),
    _amd("0.32", "nvfp4 nvfp4a16", "90 weight_only", ROCM, EMULATED),
    _amd("0", "gguf", "90 weight_only", "vllm/platforms/rocm.py of 0.8 to 0.21", "multiplies in 16 bit"),
    _amd("0.24", "gguf", "", QUANT + "__init__.py"),
    _amd("0.32", "kv_fp8", "90 unknown,94 native", "vllm/v1/attention/backends/rocm_attn.py", "MI200 has no FP8"),
    _amd("0.32", "mla", "90 native", ROCM),
    _amd("0.32", "sparse_mla", "90 unknown,94 native", ROCM, "AITER's kernel"),
    _amd_sglang("0", "mla", "90 unknown,94 native", "https://docs.sglang.ai/platforms/amd_gpu.html: DeepSeek-V3"),
    _amd_sglang("0.5.23", "sparse_mla", "90 unknown,94 native", DSA),
    _amd_sglang("0", "bf16 fp16", "0 native", "https://docs.sglang.ai/platforms/amd_gpu.html"),
    _amd_sglang("0", "fp8 fp8_block int8 int8_block", "90 unknown,94 native", SGLANG_TABLE, "of MI300 and later"),
    _amd_sglang("0", "fp8 nvfp4", "", SGLANG_TABLE, NO_MODELOPT, method="modelopt"),
    _amd_sglang("0", "mxfp4", "90 unknown,95 native", SGLANG_TABLE, "where the hardware has MXFP4"),
    _amd_sglang("0", "awq gptq", "90 unknown,94 weight_only", SGLANG_TABLE, "dequantized by Triton"),
    _amd_sglang("0", "gguf", "", SGLANG_TABLE, "its kernels are NVIDIA's only"),
)
"""Steps are those of ROCm: 90 MI200, 94 MI300 (whose FP8 is another, FNUZ, converted while loading), 95 MI350."""

_metax = _of("vllm", "metax")
METAX = "https://github.com/MetaX-MACA/vLLM-metax: vllm_metax/platform.py of 0.10.2 to 0.22"
NOT_TAKEN = "the MetaX plugin does not take it"

OTHERS = (
    _metax("0", "bf16 fp16", "0 native", "https://github.com/MetaX-MACA/vLLM-metax"),
    _metax("0.10.2", "awq gptq int4_weights int8_weights", "0 native", METAX),
    _metax("0.10.2", "int8", "0 native", METAX + ", csrc/quantization/cutlass_w8a8"),
    _metax("0.10.2", "gguf", "0 weight_only", METAX, "multiplies in 16 bit"),
    _metax("0.24", "gguf", "", QUANT + "__init__.py"),
    _metax("0.10.2", "fp8 fp8_block", "", METAX, NOT_TAKEN),
    _metax("0.17", "fp8 fp8_block", "0 unknown", METAX, "taken with VLLM_METAX_ENABLE_FP8_WEIGHT=1 only"),
    _metax("0.10.2", "mxfp4 mxfp8 nvfp4 nvfp4a16 bnb4 bnb8", "", METAX, NOT_TAKEN),
    _metax("0.22", "kv_fp8", "", "vllm_metax/v1/attention/backends/flash_attn.py", "its attention takes 16 bit only"),
    _metax("0.10.2", "mla", "0 native", "vllm_metax/v1/attention/backends/mla"),
    _of("lmdeploy", "metax")("0", "bf16 fp16", "0 native", "lmdeploy/pytorch/backends/dlinfer/maca"),
    _of("vllm", "ascend")("0", "bf16 fp16", "0 native", "https://docs.vllm.ai/projects/ascend"),
    _of("vllm", "ascend")("0", "mla", "0 native", "vllm_ascend/attention/mla_v1.py"),
    _of("vllm", "ascend")("0.11", "sparse_mla", "0 native", "vllm_ascend/attention/sfa_v1.py"),
    _of("vllm", "ascend")("0.13", "int8", "0 native", "docs.vllm.ai/projects/ascend/en/v0.13.0: quantization guide"),
    _of("sglang", "ascend")("0", "bf16 fp16", "0 native", SGLANG_TABLE),
    _of("sglang", "ascend")("0", "awq gptq", "0 weight_only", SGLANG_TABLE, "W4A16 and W8A16 in CANN's kernels"),
    _of("sglang", "ascend")("0", "int8_block nvfp4", "", SGLANG_TABLE, "not on Ascend"),
    _of("lmdeploy", "ascend")("0", "bf16 fp16", "0 native", "docs/en/supported_models of LMDeploy"),
)
"""16 bit is what these were built for; of what stands in no row nothing was published or read, so it is unknown."""

RULES: tuple[Rule, ...] = (*VLLM, *SGLANG, *LMDEPLOY, *TURBOMIND, *OLLAMA, *AMD, *OTHERS)
