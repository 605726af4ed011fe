"""What would an unquantized model be in 8 or in 4 bit?

``fp8`` is what vLLM and SGLang make of it while they load; the others are checkpoints that somebody has to make first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diag.planner.model.architecture import Architecture
from diag.planner.model.formats.quantization import quantize
from diag.planner.unknown import NotKnown

_INT8 = {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True}
_INPUTS = {"num_bits": 8, "type": "int", "strategy": "token", "symmetric": True, "dynamic": True}
CHECKPOINTS: Mapping[str, Mapping[str, Any]] = {
    "fp8": {"quant_method": "fp8", "activation_scheme": "dynamic"},
    "int8": {"quant_method": "compressed-tensors", "format": "int-quantized", "ignore": ["lm_head"],
             "config_groups": {"group_0": {"targets": ["Linear"], "weights": _INT8, "input_activations": _INPUTS}}},
    "awq": {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"},
}  # fmt: skip
"""By the name that a plan's ``quantization`` takes: the usual configuration of such checkpoints."""
ON_LOADING = frozenset({"fp8"})
"""No checkpoint is needed: the engine quantizes by a flag. Until then the weights are there in 16 bit."""


def requantized(architecture: Architecture, name: str) -> Architecture:
    if architecture.quantization is not None:
        stored = architecture.quantization.method
        raise NotKnown(f"quantization {name} of a checkpoint that is {stored} already", "leave quantization out")
    if name not in CHECKPOINTS:
        raise NotKnown(f"quantization {name!r}: the planner knows {', '.join(CHECKPOINTS)}")
    return quantize(architecture, {"quantization_config": CHECKPOINTS[name]})
