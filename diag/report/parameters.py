"""What are the launch parameters of a candidate called in a line for people?"""

from __future__ import annotations

from diag.facts.plan import Parameters

K = 1024
LAYOUT = (
    ("TP", "tensor_parallel_size"),
    ("DCP", "decode_context_parallel_size"),
    ("PP", "pipeline_parallel_size"),
    ("DP", "data_parallel_size"),
)
OTHERS = (
    ("{}", "quantization"),
    ("{}", "dtype"),
    ("KV cache in {}", "kv_cache_dtype"),
    ("context {}", "max_model_len"),
    ("{} sequences", "max_num_seqs"),
    ("{} batched tokens", "max_num_batched_tokens"),
    ("blocks of {}", "block_size"),
    ("{} of the memory", "gpu_memory_utilization"),
    ("{} GiB in RAM", "cpu_offload_gib"),
)


def tokens(count: int) -> str:
    """``8192`` -> ``8k``, ``1048576`` -> ``1M``, ``40000`` -> ``40,000``."""
    if count <= 0 or count % K:
        return f"{count:,}"
    return f"{count // K**2}M" if count % K**2 == 0 else f"{count // K:,}k"


def each(text: str, parameters: Parameters) -> str:
    """What one replica holds, as often as it is there: ``2 × 401,056``."""
    count = parameters.data_parallel_size or 1
    return f"{count} × {text}" if count > 1 and text.strip("0.") else text


def layout(parameters: Parameters) -> str:
    """``TP 8 PP 2 EP``; what is 1 is left out, but for TP."""
    sizes = [(label, getattr(parameters, field)) for label, field in LAYOUT]
    told = [f"{label} {count}" for label, count in sizes if count is not None and (label == "TP" or count != 1)]
    return " ".join([*told, *(["EP"] if parameters.expert_parallel else [])])


def batch(parameters: Parameters) -> str:
    """``8k, 64 sequences``"""
    length, sequences = parameters.max_model_len, parameters.max_num_seqs
    told = [tokens(length)] if length else []
    return ", ".join([*told, *([f"{sequences:,} sequence{'s' if sequences > 1 else ''}"] if sequences else [])])


def differences(parameters: Parameters, than: Parameters) -> str:
    """What is set otherwise beside the layout: ``context 16k, 64 sequences``."""
    told = []
    for text, field in OTHERS:
        value = getattr(parameters, field)
        if value is not None and value != getattr(than, field):
            told.append(text.format(tokens(value) if field == "max_model_len" else value))
    if parameters.enforce_eager is not None and parameters.enforce_eager != (than.enforce_eager or False):
        told.append("without CUDA graphs" if parameters.enforce_eager else "with CUDA graphs")
    return ", ".join(told)
